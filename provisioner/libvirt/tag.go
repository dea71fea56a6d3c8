package libvirt

import (
	"encoding/xml"
	"fmt"
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

// checkOwner refuses to go on with a domain that isn't the cluster's.
func checkOwner(d rpc.Domain, uuid string) error {
	t, ok := domainTag(d.XML)
	switch {
	case !ok:
		return appliance.NewProblem(appliance.ErrForeignObject, "a domain %q is there that pgapp didn't make", d.Name).
			WithHint("choose another cluster name, or rename it: virsh domrename %s NEWNAME", d.Name)
	case t.UUID != uuid:
		return appliance.NewProblem(appliance.ErrForeignObject, "domain %q belongs to another cluster of pgapp's (%s, %s)", d.Name, t.Cluster, t.UUID).
			WithHint("choose another cluster name; or, if that cluster's home is lost, remove it: pgapp down --by-tag %s", t.UUID)
	}
	return nil
}
