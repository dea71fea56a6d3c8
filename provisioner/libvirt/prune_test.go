package libvirt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"pgapp/provisioner/libvirt/rpc"
)

func TestPruneRemovesUnusedImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	make1 := func(name string, on string) {
		t.Helper()
		x := rawVolume(name, 1)
		if on != "" {
			x = linkedClone(name, rpc.Volume{Path: poolPath + "/" + on}, 1)
		}
		if err := w.fake.CreateVolume(t.Context(), poolName, x); err != nil {
			t.Fatal(err)
		}
	}
	image := func(kind, digit string) string { return kind + "-" + strings.Repeat(digit, digestLength) + ".qcow2" }
	for _, digit := range []string{"1", "2"} {
		make1(image("base", digit), "")
		make1(image("golden", digit), image("base", digit))
		make1(image("base", digit)+readySuffix, "")
		make1(image("golden", digit)+readySuffix, "")
	}
	make1("pgapp-main-node1.u.root.qcow2", image("golden", "1")) // a member of the first
	make1(image("golden", "3"), "")                              // a machine's disk that makes it
	make1("base-mine.qcow2", "")                                 // somebody's own
	make1("notes.txt", "")
	file := poolPath + "/" + image("golden", "3")
	err := w.fake.DefineDomain(t.Context(), libvirtxml.Domain{
		Type: "qemu", Name: "pgapp-other-golden",
		Devices: &libvirtxml.DomainDeviceList{Disks: []libvirtxml.DomainDisk{{
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: file}},
			Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	release, err := w.turns.turn(t.Context(), image("base", "4"))
	if err != nil {
		t.Fatal(err)
	}
	make1(image("base", "4"), "") // which is being uploaded
	defer release()
	var names []string
	removed, err := w.PruneImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range removed {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{image("golden", "2"), image("base", "2")}, names); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	left := w.inventory()
	for _, v := range []string{image("base", "2") + readySuffix, image("golden", "2") + readySuffix} {
		if strings.Contains(strings.Join(left, "\n"), v) {
			t.Errorf("the marker %s is left", v)
		}
	}
	if len(left) != 1+4+1+1+2+1 {
		t.Errorf("left: %q", left)
	}
	if again, err := w.PruneImages(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("a repeat removed %v, %v", again, err)
	}
}

func TestPruneWithoutPool(t *testing.T) {
	t.Parallel()
	if removed, err := newWorld(t).PruneImages(t.Context()); err != nil || len(removed) != 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}
