//go:build e2e

package libvirt

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// tiny is a member whose machine has a disk without an operating system: enough
// for what libvirt alone decides.
func tiny(t *testing.T, p *Provider) (appliance.Cluster, appliance.Member, tag) {
	t.Helper()
	c := labCluster(t, p, "vbtiny"+uuid.NewString()[:4], 0)
	m := c.Members[0]
	tg := memberTag(c, m.Name)
	if err := p.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	root := volumeName(tg, volRoot)
	virsh(t, "vol-create-as", poolName, root, "64M", "--format", "qcow2")
	x, err := machineSpec{
		Tag: tg, Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: appliance.DefaultNetwork, VCPUs: 1, MemoryMiB: 64,
		Root: poolPath + "/" + root, Console: poolPath + "/" + volumeName(tg, volConsole), Cache: cacheRun, Type: typeTCG,
	}.domain()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(p.machines.virt.DefineDomain(t.Context(), x), p.networks.reserve(t.Context(), appliance.DefaultNetwork, tg, m.MAC, m.Host), p.machines.virt.StartDomain(t.Context(), m.UUID))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.DestroyByTag(ctx, c.UUID, quiet); err != nil {
			t.Error(err)
		}
	})
	return c, m, tg
}

// destroyedForReal removes the cluster by its steps.
func destroyedForReal(t *testing.T, p *Provider, c appliance.Cluster) error {
	t.Helper()
	for _, s := range p.DestroySteps(c, c.Members) {
		if err := s.Do(t.Context(), quiet); err != nil {
			return err
		}
		if done, err := s.Done(t.Context()); err != nil || !done {
			t.Errorf("%s: got done %v, %v", s.ID, done, err)
		}
	}
	return nil
}

// left lists what the pool and libvirt have with that word in its name.
func left(t *testing.T, word string) []string {
	t.Helper()
	files, err := filepath.Glob(poolPath + "/*")
	if err != nil {
		t.Fatal(err)
	}
	all := append(strings.Fields(virsh(t, "list", "--all", "--name")), files...)
	return slices.DeleteFunc(all, func(s string) bool { return !strings.Contains(s, word) })
}

func TestHandsRenameAndUndefine(t *testing.T) {
	p := labProvider(t)
	c, m, tg := tiny(t, p)
	g := p.guest(c, m)
	power := func(want appliance.PowerState) {
		t.Helper()
		if got, err := g.Power(t.Context()); err != nil || got.State != want {
			t.Errorf("got %+v, %v, want %s", got, err, want)
		}
	}
	virsh(t, "destroy", m.Domain)
	renamed := "billing-db-" + c.Name
	virsh(t, "domrename", m.Domain, renamed)
	power(appliance.PowerOff)
	virsh(t, "start", renamed)
	power(appliance.PowerOn)
	virsh(t, "suspend", renamed)
	power(appliance.PowerPaused)
	if g.off(t.Context()) {
		t.Error("a renamed machine that runs counts as off")
	}
	if done, err := p.remover.machineRemoved(t.Context(), c, m.Name); err != nil || done {
		t.Errorf("it runs, and counts as removed: %v, %v", done, err)
	}
	if err := g.Fence(t.Context()); err != nil {
		t.Error(err)
	}
	power(appliance.PowerOff)
	virsh(t, "start", renamed)
	virsh(t, "undefine", renamed)
	power(appliance.PowerOn)
	for range 2 {
		if err := errors.Join(g.Fence(t.Context()), p.StopMachine(t.Context(), c, m, quiet)); err != nil {
			t.Errorf("an undefined domain that ran: %v", err)
		}
	}
	power(appliance.PowerOff)
	if err := destroyedForReal(t, p, c); err != nil {
		t.Fatal(err)
	}
	if got := left(t, tg.UUID); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestHandsCopyAndSnapshot(t *testing.T) {
	p := labProvider(t)
	c, m, tg := tiny(t, p)
	clone, bak := volumeName(tg, "root-clone.qcow2"), volumeName(tg, "root.qcow2.bak-1")
	for _, v := range []string{clone, bak} {
		virsh(t, "vol-create-as", poolName, v, "64M", "--format", "qcow2")
		t.Cleanup(func() { virshAfter(t, "vol-delete", "--pool", poolName, v) })
	}
	virsh(t, "snapshot-create-as", m.Domain, "nightly", "--disk-only", "--atomic")
	d, err := p.machines.virt.Domain(t.Context(), m.UUID)
	if err != nil {
		t.Fatal(err)
	}
	x := d.XML
	x.Name, x.UUID = "report-copy-"+c.Name, uuid.NewString()
	x.Devices.Disks[0].Source.File.File = poolPath + "/" + clone
	x.Devices.Disks[0].BackingStore = nil
	x.Devices.Interfaces = nil
	if err := p.machines.virt.DefineDomain(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { virshAfter(t, "undefine", x.Name) })
	// A user's clone outside of any pool, of a domain that is off.
	file := filepath.Join(t.TempDir(), "report.qcow2")
	root := poolPath + "/" + volumeName(tg, volRoot)
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-qf", "qcow2", "-F", "qcow2", "-b", root, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	user := x
	user.Name, user.UUID, user.Metadata = "user-"+c.Name, uuid.NewString(), nil
	disk := user.Devices.Disks[0]
	disk.Source.File.File = file
	if err := p.machines.virt.DefineDomain(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { virshAfter(t, "undefine", user.Name) })
	if err := destroyedForReal(t, p, c); !appliance.IsProblem(err, appliance.ErrForeignObject) {
		t.Errorf("a user's clone leans on the disk: got %v", err)
	}
	if got, err := p.guest(c, m).Power(t.Context()); err != nil || got.State != appliance.PowerOn {
		t.Errorf("after a refusal: got %+v, %v", got, err)
	}
	virsh(t, "undefine", user.Name)
	if err := destroyedForReal(t, p, c); err != nil {
		t.Fatal(err)
	}
	if err := p.DestroyByTag(t.Context(), c.UUID, quiet); err != nil {
		t.Fatal(err)
	}
	want := []string{x.Name, poolPath + "/" + clone, poolPath + "/" + bak}
	got := append(left(t, "report-copy-"+c.Name), left(t, tg.UUID)...)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func virshAfter(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = virshIn(ctx, args...)
}

func TestHandsUndefineThePool(t *testing.T) {
	p := labProvider(t)
	c, _, tg := tiny(t, p)
	virsh(t, "pool-destroy", poolName)
	virsh(t, "pool-undefine", poolName)
	if err := destroyedForReal(t, p, c); err != nil {
		t.Fatal(err)
	}
	if got := left(t, tg.UUID); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestHandsRemoveTheMarkers(t *testing.T) {
	p := labProvider(t)
	c, _, tg := tiny(t, p)
	file := filepath.Join(t.TempDir(), "small.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-qf", "qcow2", file, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.Spec.Image = file
	if err := p.imaging.ensureBase(t.Context(), c.Spec, quiet); err != nil {
		t.Fatal(err)
	}
	digest, err := p.imaging.imageDigest(t.Context(), c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	base, _, err := p.imaging.base(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := p.disks.ensureClone(t.Context(), goldenName(digest), base, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		virshAfter(t, "vol-delete", "--pool", poolName, base.Name)
		virshAfter(t, "vol-delete", "--pool", poolName, golden.Name)
	})
	other := volumeName(tag{UUID: c.UUID, Cluster: c.Name, Member: "node9"}, volRoot)
	if _, err := p.disks.ensureClone(t.Context(), other, golden, 0); err != nil {
		t.Fatal(err)
	}
	virsh(t, "vol-delete", "--pool", poolName, base.Name+readySuffix) // there is none of the golden image
	if err := errors.Join(p.imaging.ensureBase(t.Context(), c.Spec, quiet), p.ensureGolden(t.Context(), c, quiet)); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.imaging.imageReady(t.Context(), c.Spec); err != nil || !ok {
		t.Errorf("got ready %v, %v", ok, err)
	}
	unused, err := p.disks.unusedImages(t.Context()) // pruning would be everybody's in the lab
	if err != nil || slices.ContainsFunc(unused, func(v rpc.Volume) bool { return v.Name == base.Name || v.Name == golden.Name }) {
		t.Errorf("images in use count as unused: %v, %v", unused, err)
	}
	if err := destroyedForReal(t, p, c); err != nil {
		t.Fatal(err)
	}
	if got := left(t, tg.UUID); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	for _, v := range []string{base.Name, golden.Name} {
		virshAfter(t, "vol-delete", "--pool", poolName, v+readySuffix)
	}
}

// TestHandsSuspendAndDestroy watches a machine that a person suspends, resumes,
// ends and starts.
func TestHandsSuspendAndDestroy(t *testing.T) {
	p := labProvider(t)
	c, m, _ := tiny(t, p)
	woken := make(chan string, 100)
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { p.Watch(ctx, c, m, func(detail string) { woken <- detail }) })
	defer ended.Wait()
	defer stop()
	await := func(want string) {
		t.Helper()
		timeout := time.After(time.Minute)
		for {
			select {
			case got := <-woken:
				if got == want {
					return
				}
			case <-timeout:
				t.Fatalf("no wake with %q", want)
			}
		}
	}
	await("libvirt's events are followed")
	for _, tt := range []struct {
		act, wake string
		want      appliance.Vital
	}{
		{"suspend", "Suspended", appliance.VitalHalted},
		{"resume", "Resumed", appliance.VitalRunning},
		{"destroy", "Stopped", appliance.VitalGone},
		{"start", "Started", appliance.VitalRunning},
	} {
		virsh(t, tt.act, m.UUID)
		await("libvirt says " + tt.wake)
		if got, err := p.Sign(t.Context(), c, m); err != nil || got.Vital != tt.want {
			t.Errorf("after virsh %s: got %+v, %v, want %s", tt.act, got, err, tt.want)
		}
	}
}
