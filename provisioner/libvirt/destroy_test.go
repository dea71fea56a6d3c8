package libvirt

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// grown makes a cluster's objects as a life leaves them.
func grown(t *testing.T, w world, c appliance.Cluster) {
	t.Helper()
	for _, m := range c.Members {
		if m.Placement != appliance.PlacementVM {
			continue
		}
		tg := memberTag(c, m.Name)
		for _, what := range []string{volRoot, volSeed, volConsole} {
			if err := w.fake.CreateVolume(t.Context(), poolName, rawVolume(volumeName(tg, what), 1)); err != nil {
				t.Fatal(err)
			}
		}
		x, err := machineSpec{Tag: tg, Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: "default", Type: typeTCG}.domain()
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(w.fake.DefineDomain(t.Context(), x), w.networks.reserve(t.Context(), "default", tg, m.MAC, m.Host))
		if err != nil {
			t.Fatal(err)
		}
		w.fake.domains[m.Domain].State = rpc.DomainRunning
	}
}

func (w world) inventory() []string {
	var out []string
	for d := range w.fake.domains {
		out = append(out, "domain "+d)
	}
	for v := range w.fake.volumes {
		out = append(out, "volume "+v)
	}
	for _, h := range reservations(w.fake.networks["default"].XML) {
		out = append(out, "reservation "+h.Name)
	}
	slices.Sort(out)
	return out
}

func TestDestroyRemovesAllOwnAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, destroy := range map[string]func(ctx context.Context, w world, c appliance.Cluster) error{
		"steps": func(ctx context.Context, w world, c appliance.Cluster) error {
			for range 2 {
				for _, s := range w.DestroySteps(c, c.Members) {
					if s.Do == nil {
						continue // the local provider's
					}
					if err := s.Do(ctx, quiet); err != nil {
						return err
					}
					if s.Done == nil {
						continue
					}
					if done, err := s.Done(ctx); err != nil || !done {
						return errors.Join(err, errors.New(s.ID+" isn't done after it was done"))
					}
				}
			}
			return nil
		},
		"by tag": func(ctx context.Context, w world, c appliance.Cluster) error {
			return errors.Join(w.DestroyByTag(ctx, c.UUID, quiet), w.DestroyByTag(ctx, c.UUID, quiet))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := w.disks.ensurePool(t.Context()); err != nil {
				t.Fatal(err)
			}
			b := w.cluster(t, "main-node1", uuidB, 2)
			grown(t, w, b)
			w.fake.domains["pgapp-main-node3"] = &rpc.Domain{Name: "pgapp-main-node3", State: rpc.DomainRunning}
			if err := w.fake.AddHost(t.Context(), "default", libvirtxml.NetworkDHCPHost{MAC: "52:54:00:ff:ff:ff", IP: "192.168.122.200", Name: "printer"}); err != nil {
				t.Fatal(err)
			}
			before := w.inventory()
			a := w.cluster(t, "main", uuidA, 2, b.Members...)
			grown(t, w, a)
			if err := destroy(t.Context(), w, a); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, w.inventory()); diff != "" {
				t.Errorf("the world differs from before (-want +got):\n%s", diff)
			}
			if w.fake.domains["pgapp-main-node3"].State != rpc.DomainRunning {
				t.Error("a foreign domain was ended")
			}
		})
	}
}

func TestDestroyRemovesOwnNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	delete(w.fake.networks, "default")
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := w.cluster(t, "main", uuidA, 1)
	for range 2 {
		if _, err := w.networks.ensureNetwork(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.fake.networks["default"]; !n.Active || n.XML.Bridge.STP != "off" {
		t.Errorf("got %+v", n)
	}
	grown(t, w, c)
	if err := w.networks.removeOwnNetwork(t.Context(), "default", uuidA); err != nil || w.fake.networks["default"] == nil {
		t.Fatalf("a network in use: got %v, %v", err, w.fake.networks["default"])
	}
	if err := w.DestroyByTag(t.Context(), uuidA, quiet); err != nil || w.fake.networks["default"] != nil {
		t.Errorf("got %v, %v", err, w.fake.networks["default"])
	}
}

func TestForeignDomainIsNeverChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m, _ := seeded(t, w, c)
	w.fake.domains[m.Domain] = &rpc.Domain{Name: m.Domain, State: rpc.DomainRunning}
	g := w.guest(c, m)
	for name, err := range map[string]error{
		"create": w.ensureMachine(t.Context(), c, m, quiet),
		"stop":   w.StopMachine(t.Context(), c, m, quiet),
		"fence":  g.Fence(t.Context()),
	} {
		if !appliance.IsProblem(err, appliance.ErrForeignObject) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := w.removeMachine(t.Context(), c, m.Name, quiet); err != nil {
		t.Error(err)
	}
	if d := w.fake.domains[m.Domain]; d == nil || d.State != rpc.DomainRunning {
		t.Errorf("got %+v", d)
	}
}
