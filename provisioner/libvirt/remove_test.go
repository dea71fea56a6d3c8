package libvirt

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// onDisk gives the member's domain its root disk.
func onDisk(t *testing.T, w world, c appliance.Cluster, m appliance.Member, disk string) {
	t.Helper()
	x, err := machineSpec{Tag: memberTag(c, m.Name), Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: "default", Type: typeTCG, Root: disk}.domain()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.fake.DefineDomain(t.Context(), x); err != nil {
		t.Fatal(err)
	}
}

func (w world) makeVolume(t *testing.T, name, on string) {
	t.Helper()
	x := rawVolume(name, 1)
	if on != "" {
		x = linkedClone(name, rpc.Volume{Path: on}, 1)
	}
	if err := w.fake.CreateVolume(t.Context(), poolName, x); err != nil {
		t.Fatal(err)
	}
}

// destroyed removes the whole cluster by its steps, each asked Done after.
func destroyed(t *testing.T, w world, c appliance.Cluster) error {
	t.Helper()
	for _, s := range w.DestroySteps(c, c.Members) {
		if s.Do == nil {
			continue // the local provider's
		}
		if err := s.Do(t.Context(), quiet); err != nil {
			return err
		}
		if s.Done == nil {
			continue
		}
		if done, err := s.Done(t.Context()); err != nil || !done {
			t.Errorf("%s: got done %v, %v", s.ID, done, err)
		}
	}
	return nil
}

func TestVolumeOfMatchesWholeName(t *testing.T) {
	t.Parallel()
	head := "pgapp-main-node1." + uuidA + "."
	for name, want := range map[string]bool{
		head + "root.qcow2": true, head + "seed.img": true, head + "console.log": true, head + "console.log.0": true,
		head + "root-clone.qcow2": false, head + "root.qcow2.bak-1": false, head + "console.log.bak": false,
		head + "root": false, head + "": false, "copy-of-" + head + "root.qcow2": false,
		"pgapp-main-node1." + uuidB + ".root.qcow2": false, "pgapp-main-node10." + uuidA + ".root.qcow2": false,
	} {
		if got := volumeOf(name, uuidA, "main", "node1"); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		byTag := volumeOf(name, uuidA, "", "")
		if want && !byTag || byTag && strings.HasPrefix(name, head) != want {
			t.Errorf("%s: got %v by the UUID alone", name, byTag)
		}
	}
}

func TestDestroyKeepsUsersCopies(t *testing.T) {
	t.Parallel()
	for name, destroy := range map[string]func(ctx context.Context, w world, c appliance.Cluster) error{
		"steps": func(_ context.Context, w world, c appliance.Cluster) error { return destroyed(t, w, c) },
		"by tag": func(ctx context.Context, w world, c appliance.Cluster) error {
			return w.DestroyByTag(ctx, c.UUID, quiet)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c, m := inLife(t)
			clone := volumeName(memberTag(c, m.Name), "root-clone.qcow2")
			w.makeVolume(t, clone, "")
			w.makeVolume(t, volumeName(memberTag(c, m.Name), "root.qcow2.bak-1"), "")
			onDisk(t, w, c, m, poolPath+"/"+volumeName(memberTag(c, m.Name), volRoot))
			copied := *w.fake.domains[m.Domain]
			copied.UUID, copied.Name, copied.State = "11111111-2222-4333-8444-555555555555", "report-copy", rpc.DomainRunning
			copied.XML.Devices.Disks = nil
			w.fake.domains[copied.Name] = &copied
			if err := destroy(t.Context(), w, c); err != nil {
				t.Fatal(err)
			}
			want := []string{"domain report-copy", "volume " + volumeName(memberTag(c, m.Name), "root.qcow2.bak-1"), "volume " + clone}
			slices.Sort(want)
			if diff := cmp.Diff(want, w.inventory()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if !w.fake.domains["report-copy"].State.Off() {
				return
			}
			t.Error("the copy was ended")
		})
	}
}

func TestDestroyFindsRenamedDomain(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.rename(m.Domain, "billing-db")
	if done, err := w.remover.machineRemoved(t.Context(), c, m.Name); err != nil || done {
		t.Errorf("a renamed domain that runs: got removed %v, %v", done, err)
	}
	if err := destroyed(t, w, c); err != nil {
		t.Fatal(err)
	}
	if left := w.inventory(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestDestroyDefinesUndefinedPool(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.host.files[inFS(poolPath)] = &fstest.MapFile{Mode: fs.ModeDir}
	delete(w.fake.domains, m.Domain)
	delete(w.fake.pools, poolName)
	w.fake.networks["default"].XML.IPs[0].DHCP.Hosts = nil
	if done, err := w.remover.machineRemoved(t.Context(), c, m.Name); err != nil || done {
		t.Errorf("volumes that can't be seen: got removed %v, %v", done, err)
	}
	if err := destroyed(t, w, c); err != nil {
		t.Fatal(err)
	}
	if left := w.inventory(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestDestroyRefusesVolumesInUse(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	root := poolPath + "/" + volumeName(memberTag(c, m.Name), volRoot)
	w.makeVolume(t, "report.qcow2", root)
	before := w.inventory()
	err := destroyed(t, w, c)
	if !appliance.IsProblem(err, appliance.ErrForeignObject) || !strings.Contains(err.Error(), "report.qcow2") {
		t.Errorf("got %v, want a refusal that names report.qcow2", err)
	}
	if diff := cmp.Diff(before, w.inventory()); diff != "" || w.fake.domains[m.Domain].State.Off() {
		t.Errorf("the world differs from before (-want +got):\n%s", diff)
	}
}

func TestDestroyRemovesSnapshotOverlay(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	root := poolPath + "/" + volumeName(memberTag(c, m.Name), volRoot)
	overlay := volumeName(memberTag(c, m.Name), "nightly")
	w.makeVolume(t, overlay, root)
	w.makeVolume(t, "second", poolPath+"/"+overlay)
	onDisk(t, w, c, m, poolPath+"/second")
	if err := w.fake.CreateVolume(t.Context(), poolName, rawVolume("mine", 1)); err != nil {
		t.Fatal(err)
	}
	if err := destroyed(t, w, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"volume mine"}, w.inventory()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
