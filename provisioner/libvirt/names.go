package libvirt

import (
	"slices"
	"strings"

	"pgapp/appliance"
)

const (
	// guestUser logs in to guests; it may become any other user.
	guestUser = "pgapp"
	// prefix begins the names of our domains and reservations.
	prefix = "pgapp-"
	// shortUUID is how much of the cluster's UUID a reservation's name carries:
	// it has to be a DNS label.
	shortUUID = 8
)

func domainName(cluster, member string) string { return prefix + cluster + "-" + member }

// reservationName is a name in the network's DHCP.
func reservationName(t tag) string { return domainName(t.Cluster, t.Member) + "-" + t.UUID[:shortUUID] }

// The volumes of a member; their names carry the cluster's UUID, since volumes
// have no metadata.
func volumeName(t tag, what string) string {
	return domainName(t.Cluster, t.Member) + "." + t.UUID + "." + what
}

const (
	volRoot    = "root.qcow2"
	volSeed    = "seed.img"
	volConsole = "console.log"
)

// volumeOf tells whether pgapp makes a volume of that name for the cluster, or
// for the member if member isn't empty. It compares the whole name: a user's
// copy may have the same prefix. An empty cluster matches every cluster name of
// that UUID.
func volumeOf(volume, uuid, cluster, member string) bool {
	head, what, found := strings.Cut(volume, "."+uuid+".")
	switch {
	case !found || !strings.HasPrefix(head, prefix):
		return false
	case member != "" && head != domainName(cluster, member):
		return false
	case cluster != "" && !strings.HasPrefix(head, domainName(cluster, "")):
		return false
	}
	// virtlogd keeps a full console's log under a number.
	if log, number, ok := strings.Cut(what, volConsole+"."); ok && log == "" {
		return number != "" && strings.Trim(number, "0123456789") == ""
	}
	return slices.Contains([]string{volRoot, volSeed, volConsole}, what)
}

func memberTag(c appliance.Cluster, member string) tag {
	return tag{UUID: c.UUID, Cluster: c.Name, Member: member}
}
