package libvirt

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// tag marks a domain or network as pgapp's.
type tag struct {
	XMLName xml.Name `xml:"urn:pgapp:libvirt:1 object"`
	UUID    string   `xml:"uuid,attr"`
	Cluster string   `xml:"cluster,attr"`
	Member  string   `xml:"member,attr,omitempty"`
	// Domain is the domain's own UUID: a copy that carries the metadata of
	// another isn't ours. Networks have none, nor have domains of older versions.
	Domain string `xml:"domain,attr,omitempty"`
}

func (t tag) marshal() (string, error) {
	b, err := xml.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encoding the tag of %s/%s: %w", t.Cluster, t.Member, err)
	}
	// libvirt wants a prefix on foreign elements of metadata.
	s := strings.Replace(string(b), `<object xmlns="`, `<pgapp:object xmlns:pgapp="`, 1)
	return strings.Replace(s, "</object>", "</pgapp:object>", 1), nil
}

// readTag finds the tag in a metadata element; ok is false where there is none.
func readTag(metadata string) (t tag, ok bool) {
	var m struct {
		Object *tag `xml:"urn:pgapp:libvirt:1 object"`
	}
	if xml.Unmarshal([]byte("<m>"+metadata+"</m>"), &m) != nil || m.Object == nil {
		return tag{}, false
	}
	return *m.Object, true
}

func domainTag(x libvirtxml.Domain) (tag, bool) {
	if x.Metadata == nil {
		return tag{}, false
	}
	return readTag(x.Metadata.XML)
}

func networkTag(x libvirtxml.Network) (tag, bool) {
	if x.Metadata == nil {
		return tag{}, false
	}
	return readTag(x.Metadata.XML)
}

// owned tells whether the domain is the cluster's: the tag carries the cluster's
// UUID, and names the domain's own. A tag that names none is good for a domain
// that has the name, or the disk, that the tag's member was given.
func owned(d rpc.Domain, uuid string) (t tag, ok bool) {
	t, ok = domainTag(d.XML)
	switch {
	case !ok || t.UUID != uuid:
		return t, false
	case t.Domain != "":
		return t, strings.EqualFold(t.Domain, d.UUID)
	}
	return t, d.Name == domainName(t.Cluster, t.Member) || slices.Contains(diskFiles(d), poolPath+"/"+volumeName(t, volRoot))
}

// checkOwner refuses a domain that isn't the cluster's.
func checkOwner(d rpc.Domain, uuid string) error {
	if _, ok := owned(d, uuid); ok {
		return nil
	}
	t, ok := domainTag(d.XML)
	switch {
	case !ok:
		return appliance.NewProblem(appliance.ErrForeignObject, "domain %q exists, and pgapp did not make it", d.Name).
			WithHint("choose another cluster name, or rename it: virsh domrename %s NEWNAME", d.Name)
	case t.UUID == uuid:
		return appliance.NewProblem(appliance.ErrForeignObject, "domain %q is a copy of %s's, with its metadata", d.Name, domainName(t.Cluster, t.Member)).
			WithHint("rename it: virsh domrename %s NEWNAME", d.Name)
	}
	return appliance.NewProblem(appliance.ErrForeignObject, "domain %q belongs to another pgapp cluster (%s, %s)", d.Name, t.Cluster, t.UUID).
		WithHint("choose another cluster name; or, if that cluster's home is lost, remove it: pgapp down --by-tag %s", t.UUID)
}
