package libvirt

import (
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

// volumeOf tells whether a volume belongs to the cluster, or to one member of
// it where member isn't empty.
func volumeOf(volume, uuid, cluster, member string) bool {
	head, rest, found := strings.Cut(volume, "."+uuid+".")
	if !found || rest == "" {
		return false
	}
	return member == "" || head == domainName(cluster, member)
}

func memberTag(c appliance.Cluster, member string) tag {
	return tag{UUID: c.UUID, Cluster: c.Name, Member: member}
}
