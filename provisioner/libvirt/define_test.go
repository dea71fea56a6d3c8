package libvirt

import (
	"errors"
	"strings"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// personsParts are what a person put into a member's definition.
const personsParts = `<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="/srv/data.img"/><target dev="vdb" bus="virtio"/></disk>`

// changed makes a member that is off, whose definition a person has changed by
// that many replacements, old and new in turn.
func changed(t *testing.T, w world, replacements ...string) (appliance.Cluster, appliance.Member, machineSpec) {
	t.Helper()
	c := w.cluster(t, "main", uuidA, 1)
	c.Spec.Accel = appliance.AccelTCG
	w.onLoopback(c)
	m, spec := seeded(t, w, c)
	spec.Type = typeKVM
	x, err := spec.domain()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.fake.DefineDomain(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	text, err := w.fake.Definition(t.Context(), m.Domain)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("the definition has no %s:\n%s", replacements[i], text)
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	if err := w.fake.RedefineDomain(t.Context(), m.Domain, text); err != nil {
		t.Fatal(err)
	}
	return c, m, spec
}

func TestDefineKeepsUsersChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	overlay := volumeName(tag{UUID: uuidA, Cluster: "main", Member: "node1"}, "nightly")
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.fake.volumes[overlay] = rpc.Volume{Name: overlay, Path: poolPath + "/" + overlay}
	w.fake.files["/srv/data.img"] = true
	c, m, spec := changed(t, w,
		volRoot, "nightly",
		"</memory>", "</memory>\n  <currentMemory unit='KiB'>524288</currentMemory>\n  <cputune><vcpupin vcpu='0' cpuset='3'/></cputune>",
		"</metadata>", "<other:note xmlns:other='urn:other'>keep &lt;me&gt;</other:note></metadata>\n  <description>the nightly one</description>",
		"</disk>", "</disk>"+personsParts,
	)
	before := w.fake.texts[m.Domain]
	if err := w.ensureMachine(t.Context(), c, m, quiet); err == nil {
		t.Fatal("a guest that doesn't answer passed for one")
	}
	d := w.fake.domains[m.Domain]
	if d.State != rpc.DomainRunning || d.XML.Type != typeTCG || d.XML.CPU.Mode != "maximum" {
		t.Errorf("got state %d, type %s, processor %s", d.State, d.XML.Type, d.XML.CPU.Mode)
	}
	after := w.fake.texts[m.Domain]
	undo := strings.NewReplacer(` type='qemu'`, ` type="kvm"`, ` mode='maximum'`, ` mode="host-passthrough"`,
		"<tcg><tb-cache unit='MiB'>256</tb-cache></tcg>\n", "")
	if got := undo.Replace(after); got != before {
		t.Errorf("got\n%s\nwant but for how it is accelerated\n%s", after, before)
	}
	if strings.Contains(after, volumeName(spec.Tag, volRoot)) || !strings.Contains(after, overlay) {
		t.Errorf("the recorded disk is back:\n%s", after)
	}
}

// Back under KVM nothing of the emulation is left.
func TestAccelerateIsReversible(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, m, _ := changed(t, w)
	before, err := w.fake.Definition(t.Context(), m.Domain)
	if err != nil {
		t.Fatal(err)
	}
	d := definition{before}
	for _, kind := range []string{typeTCG, typeKVM} {
		if err := d.accelerate(kind); err != nil {
			t.Fatal(err)
		}
	}
	blanks := strings.NewReplacer("\n", "", " ", "", "'", `"`)
	if got := blanks.Replace(d.text); got != blanks.Replace(before) {
		t.Errorf("got\n%s\nwant\n%s", d.text, before)
	}
}

func TestDefineRefusesUnreachableDefinition(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string][]string{
		"network card": {"52:54:00:", "52:54:01:"},
		"disk":         {`dev="vda"`, `dev="vdc"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, m, _ := changed(t, w, replace...)
			err := w.ensureMachine(t.Context(), c, m, quiet)
			if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrConflict || !strings.Contains(p.Hint, m.Domain) {
				t.Errorf("got %v", err)
			}
			if d := w.fake.domains[m.Domain]; !d.State.Off() {
				t.Errorf("the machine was started")
			}
		})
	}
}

// A domain that was undefined is not made anew on a disk that a snapshot froze.
func TestEnsureMachineRefusesDiskUnderOverlay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m, spec := seeded(t, w, c)
	w.fake.volumes["overlay"] = rpc.Volume{Name: "overlay", Path: poolPath + "/overlay", Backing: spec.Root}
	err := w.ensureMachine(t.Context(), c, m, quiet)
	if !appliance.IsProblem(err, appliance.ErrConflict) || len(w.fake.domains) != 0 {
		t.Errorf("got %v and %d domains", err, len(w.fake.domains))
	}
}

func TestHasSeedComparesFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.files["/srv/data.img"] = true
	_, m, spec := changed(t, w, "</disk>", "</disk>"+personsParts)
	if hasSeed(w.fake.domains[m.Domain].XML, spec.Tag) {
		t.Fatal("a person's disk at vdb is taken for the seed")
	}
	if err := w.fake.StartDomain(t.Context(), m.Domain); err != nil {
		t.Fatal(err)
	}
	if err := w.machines.dropSeed(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string][]string{"live": diskFiles(rpc.Domain{XML: w.fake.live[m.Domain]}), "defined": diskFiles(*w.fake.domains[m.Domain])} {
		if len(x) != 2 {
			t.Errorf("%s: got disks %q", name, x)
		}
	}
	// A seed that is needed goes where there is room.
	text, err := w.fake.Definition(t.Context(), m.Domain)
	d := definition{text}
	if err != nil || d.withSeed(seedPath(spec.Tag)) != nil || d.withSeed(seedPath(spec.Tag)) != nil {
		t.Fatal(err)
	}
	if err := w.fake.RedefineDomain(t.Context(), m.Domain, d.text); err != nil {
		t.Fatal(err)
	}
	if got, ok := rpc.DiskOf(w.fake.domains[m.Domain].XML, seedPath(spec.Tag)); !ok || got.Target.Dev != "vdc" {
		t.Errorf("got %+v, %v", got.Target, ok)
	}
}

// A start that fails leaves no key behind.
func TestEnsureMachineDropsSeedAfterFailedStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m, spec := seeded(t, w, c)
	w.fake.noMessage = noMessageRetries + 1
	if err := w.ensureMachine(t.Context(), c, m, quiet); err == nil {
		t.Fatal("a start that failed passed for one")
	}
	if _, ok := w.fake.volumes[volumeName(spec.Tag, volSeed)]; ok {
		t.Errorf("the seed is left")
	}
	if d := w.fake.domains[m.Domain]; !hasSeed(d.XML, spec.Tag) {
		t.Errorf("the next start would boot without a seed")
	}
	remove := func(report appliance.Report) error {
		return w.remover.removal(c.UUID, c.Name, m.Name, report).run(t.Context())
	}
	err := remove(func(p appliance.Progress) {
		if strings.HasPrefix(p.Detail, "kept ") {
			t.Errorf("the seed that is gone: %s", p.Detail)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEnsureMachineReportsMissingDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, m, spec := changed(t, w)
	c.Initialised = true
	delete(w.fake.volumes, volumeName(spec.Tag, volRoot))
	err := w.ensureMachine(t.Context(), c, m, quiet)
	if p := appliance.AsProblem(err); p == nil || !strings.Contains(p.Hint, "pgapp reinit "+m.Name) {
		t.Fatalf("got %v, want the way to a new disk", err)
	}
	primary := c
	primary.Primary = m.Name
	for name, err := range map[string]error{
		"start": w.ensureMachine(t.Context(), primary, m, quiet),
		"up":    w.ensureDisk(t.Context(), primary, m),
	} {
		if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrMemberUnreachable || strings.Contains(p.Hint, "reinit") {
			t.Errorf("%s of the primary: got %v", name, err)
		}
	}
	if done, err := w.haveDisks(t.Context(), c, m); err != nil || done {
		t.Fatalf("got %v, %v", done, err)
	}
	w.fake.volumes["golden"] = rpc.Volume{Name: "golden", Path: poolPath + "/golden", Capacity: 1 << 30}
	if err := w.remakeDisk(t.Context(), c, m, w.fake.volumes["golden"]); err != nil {
		t.Fatal(err)
	}
	if done, err := w.haveDisks(t.Context(), c, m); err != nil || !done {
		t.Errorf("after it was made: got %v, %v", done, err)
	}
	if d := w.fake.domains[m.Domain]; !hasSeed(d.XML, spec.Tag) {
		t.Errorf("the new disk would boot without a seed")
	}
}

func TestPowerOffEscalates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		state   rpc.DomainState
		reason  golibvirt.DomainPausedReason
		deaf    bool
		primary bool
		pressed int
		says    []string
	}{
		"deaf":              {state: rpc.DomainRunning, deaf: true, pressed: 1, says: []string{"power button", "plug"}},
		"no SSH":            {state: rpc.DomainRunning, pressed: 1, says: []string{"power button"}},
		"suspended":         {state: rpc.DomainPaused, reason: golibvirt.DomainPausedUser, primary: true, pressed: 1, says: []string{"resuming", "power button"}},
		"suspended standby": {state: rpc.DomainPaused, reason: golibvirt.DomainPausedUser, says: []string{"plug"}},
		"crashed":           {state: rpc.DomainPaused, reason: golibvirt.DomainPausedCrashed, primary: true, says: []string{"plug"}},
		"off":               {state: rpc.DomainShutoff},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, m, _ := changed(t, w)
			w.fake.deaf = tc.deaf
			if tc.primary {
				c.Primary = m.Name
			}
			d := w.fake.domains[m.Domain]
			d.State, d.Reason = tc.state, int32(tc.reason)
			var said []string
			err := w.StopMachine(t.Context(), c, m, func(p appliance.Progress) { said = append(said, p.Detail) })
			if err != nil || !d.State.Off() || w.fake.pressed != tc.pressed {
				t.Errorf("got %v, state %d, button pressed %d times", err, d.State, w.fake.pressed)
			}
			if len(said) != len(tc.says) {
				t.Fatalf("said %q, want %q", said, tc.says)
			}
			for i := range said {
				if !strings.Contains(said[i], tc.says[i]) {
					t.Errorf("said %q, want %q", said, tc.says)
				}
			}
		})
	}
}

func TestUpRestartsMachineWithoutSSH(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(w world, d *rpc.Domain)
		says    string
	}{
		"deaf":      {func(world, *rpc.Domain) {}, "did not answer"},
		"suspended": {func(_ world, d *rpc.Domain) { d.State, d.Reason = rpc.DomainPaused, int32(golibvirt.DomainPausedUser) }, "resuming"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, m, spec := changed(t, w)
			if err := w.fake.StartDomain(t.Context(), m.Domain); err != nil {
				t.Fatal(err)
			}
			tc.prepare(w, w.fake.domains[m.Domain])
			var said []string
			g := w.guest(c, m)
			client, err := g.ssh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.machines.up(t.Context(), boot{spec: spec, guest: g, primary: true, client: client, accel: appliance.AccelTCG, report: func(p appliance.Progress) { said = append(said, p.Detail) }})
			if !appliance.IsProblem(err, appliance.ErrGuestBoot) {
				t.Errorf("got %v", err)
			}
			all := strings.Join(said, "\n")
			if !strings.Contains(all, tc.says) || !strings.Contains(all, "power button") || !strings.Contains(all, "starting the machine") {
				t.Errorf("said %q", said)
			}
			if w.fake.pressed != 1 || w.fake.domains[m.Domain].State != rpc.DomainRunning {
				t.Errorf("the button was pressed %d times, state %d", w.fake.pressed, w.fake.domains[m.Domain].State)
			}
		})
	}
}

// A machine that ran on a file that was deleted is told of at its next start.
func TestEnsureMachineReportsDiskMissingUnderRunningMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, m, spec := changed(t, w)
	if err := w.fake.StartDomain(t.Context(), m.Domain); err != nil {
		t.Fatal(err)
	}
	delete(w.fake.volumes, volumeName(spec.Tag, volRoot))
	err := w.ensureMachine(t.Context(), c, m, quiet) // which finds it deaf
	if p := appliance.AsProblem(err); p == nil || !strings.Contains(p.Hint, "pgapp reinit "+m.Name) {
		t.Errorf("got %v, want the way to a new disk", err)
	}
}

func TestUnpluggedReportsCardOffBridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, m, _ := changed(t, w, `<source network="default">`, `<target dev="vnet7"></target><source network="default" bridge="virbr0">`)
	if err := w.fake.StartDomain(t.Context(), m.Domain); err != nil {
		t.Fatal(err)
	}
	for _, loose := range []bool{false, true} {
		w.host.loose["vnet7"] = loose
		if err := w.machines.unplugged(t.Context(), m.Domain); errors.Is(err, errDeaf) != loose {
			t.Errorf("on no bridge %v: got %v", loose, err)
		}
	}
}

func TestSetSizeChangesOnlyRequestedFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, m, _ := changed(t, w,
		"</memory>", "</memory>\n  <currentMemory unit='KiB'>524288</currentMemory>",
		`<vcpu placement="static">2</vcpu>`, `<vcpu placement='static' cpuset='0-3' current='1'>2</vcpu>`)
	want := appliance.MachineSize{VCPUs: 3}
	for range 2 {
		if err := w.SetSize(t.Context(), c, m, want); err != nil {
			t.Fatal(err)
		}
	}
	text := w.fake.texts[m.Domain]
	for _, part := range []string{`<memory unit="MiB">1024</memory>`, `<currentMemory unit='KiB'>524288</currentMemory>`, `<vcpu placement='static' cpuset='0-3' current='3'>3</vcpu>`} {
		if !strings.Contains(text, part) {
			t.Errorf("the definition has no %s:\n%s", part, text)
		}
	}
	want.MemoryMiB = 2048
	if err := w.SetSize(t.Context(), c, m, want); err != nil || !hasSize(w.fake.domains[m.Domain].XML, want) {
		t.Errorf("got %v and\n%s", err, w.fake.texts[m.Domain])
	}
	if err := w.fake.StartDomain(t.Context(), m.Domain); err != nil {
		t.Fatal(err)
	}
	for size, restart := range map[appliance.MachineSize]bool{want: false, {VCPUs: 4}: true} {
		if err := w.SetSize(t.Context(), c, m, size); err != nil {
			t.Fatal(err)
		}
		if got, err := w.ApplySize(t.Context(), c, m, size, quiet); err != nil || got != restart {
			t.Errorf("%+v: restart %v, %v", size, got, err)
		}
	}
}
