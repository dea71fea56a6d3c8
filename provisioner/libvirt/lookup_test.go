package libvirt

import (
	"testing"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// inLife is a world with a cluster whose node1 runs.
func inLife(t *testing.T) (world, appliance.Cluster, appliance.Member) {
	t.Helper()
	w := newWorld(t)
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := w.cluster(t, "main", uuidA, 1)
	grown(t, w, c)
	return w, c, c.Members[1]
}

func TestStopMachineEndsRenamedDomain(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(w world, c appliance.Cluster, m appliance.Member) error{
		"stop": func(w world, c appliance.Cluster, m appliance.Member) error {
			return w.StopMachine(t.Context(), c, m, quiet)
		},
		"fence": func(w world, c appliance.Cluster, m appliance.Member) error { return w.guest(c, m).Fence(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c, m := inLife(t)
			w.fake.rename(m.Domain, "billing-db")
			if w.guest(c, m).off(t.Context()) {
				t.Error("a renamed domain that runs counts as off")
			}
			if err := stop(w, c, m); err != nil {
				t.Fatal(err)
			}
			if d := w.fake.domains["billing-db"]; !d.State.Off() {
				t.Errorf("got state %d, want off", d.State)
			}
			if !w.guest(c, m).off(t.Context()) {
				t.Error("the domain is off, but not known to be")
			}
		})
	}
}

func TestStopMachineEndsUndefinedDomain(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.transient[m.Domain] = true
	for range 2 {
		if err := w.StopMachine(t.Context(), c, m, quiet); err != nil {
			t.Fatal(err)
		}
	}
	if d := w.fake.domains[m.Domain]; d != nil {
		t.Errorf("got %+v", d)
	}
}

func TestDomainOfFindsByTagAndRefusesCopies(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	copied := *w.fake.domains[m.Domain]
	copied.UUID, copied.Name = "11111111-2222-4333-8444-555555555555", "report-copy"
	w.fake.domains[copied.Name] = &copied
	unrecorded := m
	unrecorded.UUID = ""
	if d, err := w.machines.domainOf(t.Context(), c.UUID, unrecorded); err != nil || d.UUID != m.UUID {
		t.Errorf("by tag: got %q, %v, want %q", d.UUID, err, m.UUID)
	}
	delete(w.fake.domains, m.Domain)
	w.fake.rename(copied.Name, m.Domain)
	if _, err := w.machines.domainOf(t.Context(), c.UUID, m); !appliance.IsProblem(err, appliance.ErrForeignObject) {
		t.Errorf("a copy under the member's name: got %v", err)
	}
}

func TestOwnedReadsOlderTags(t *testing.T) {
	t.Parallel()
	old := tag{UUID: uuidA, Cluster: "main", Member: "node1"}
	meta, err := old.marshal()
	if err != nil {
		t.Fatal(err)
	}
	root := poolPath + "/" + volumeName(old, volRoot)
	for _, tt := range []struct {
		name, domain, disk string
		want               bool
	}{
		{"by its name", "pgapp-main-node1", "", true},
		{"renamed, by its disk", "billing-db", root, true},
		{"a copy", "report-copy", poolPath + "/" + volumeName(old, "root-clone.qcow2"), false},
	} {
		x, err := machineSpec{Tag: old, Name: tt.domain, Root: tt.disk}.domain()
		if err != nil {
			t.Fatal(err)
		}
		x.Metadata.XML = meta
		if _, ok := owned(rpc.Domain{Name: tt.domain, UUID: "u", XML: x}, uuidA); ok != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, ok, tt.want)
		}
	}
}
