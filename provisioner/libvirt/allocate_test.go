package libvirt

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	uuidA = "0a1b2c3d-0000-4000-8000-000000000001"
	uuidB = "1a1b2c3d-0000-4000-8000-000000000002"
)

func hosts(ms []appliance.Member) []string {
	var out []string
	for _, m := range ms {
		out = append(out, m.Host)
	}
	return out
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	usual := []string{"192.168.122.1", "192.168.122.101", "192.168.122.102", "192.168.122.103"}
	living := func(addr string) func(w world) {
		return func(w world) {
			w.host.living[addr] = true
		}
	}
	for _, tc := range []struct {
		name    string
		prepare func(w world)
		change  func(s *appliance.Spec)
		want    []string
		fails   appliance.ErrorID
	}{
		{name: "as people number them", want: usual},
		{name: "four machines", change: func(s *appliance.Spec) { s.Primary = appliance.PrimaryVM }, want: []string{"192.168.122.100", "192.168.122.101", "192.168.122.102", "192.168.122.103"}},
		{name: "a living host is passed over", prepare: living("192.168.122.102"), want: []string{"192.168.122.1", "192.168.122.101", "192.168.122.104", "192.168.122.103"}},
		{name: "a lease is passed over", prepare: func(w world) { w.fake.leases = []rpc.Lease{{Address: "192.168.122.101"}} }, want: []string{"192.168.122.1", "192.168.122.104", "192.168.122.102", "192.168.122.103"}},
		{name: "a reservation is passed over", prepare: func(w world) {
			_ = w.fake.AddHost(context.Background(), "default", libvirtxml.NetworkDHCPHost{MAC: "52:54:00:00:00:01", IP: "192.168.122.103", Name: "other"})
		}, want: []string{"192.168.122.1", "192.168.122.101", "192.168.122.102", "192.168.122.104"}},
		{name: "by the spec", change: func(s *appliance.Spec) { s.FirstAddress = "192.168.122.50" }, want: []string{"192.168.122.1", "192.168.122.50", "192.168.122.51", "192.168.122.52"}},
		{name: "by the spec, taken", prepare: living("192.168.122.51"), change: func(s *appliance.Spec) { s.FirstAddress = "192.168.122.50" }, fails: appliance.ErrHostAddressTaken},
		{name: "by the spec, of another network", change: func(s *appliance.Spec) { s.FirstAddress = "10.0.0.5" }, fails: appliance.ErrInvalidSpec},
		{name: "by the spec, beyond the end", change: func(s *appliance.Spec) { s.FirstAddress = "192.168.122.254" }, fails: appliance.ErrHostAddressTaken},
		{name: "no such network", change: func(s *appliance.Spec) { s.Network = "lan" }, fails: appliance.ErrHostNetwork},
		{name: "the default network is missing", prepare: func(w world) { delete(w.fake.networks, "default") }, want: usual},
		{name: "a foreign domain", prepare: func(w world) {
			w.fake.domains["pgapp-main-node2"] = &rpc.Domain{Name: "pgapp-main-node2"}
		}, fails: appliance.ErrForeignObject},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.prepare != nil {
				tc.prepare(w)
			}
			three := 3
			s := appliance.Spec{Provider: appliance.ProviderLibvirt, Standbys: &three}.WithDefaults()
			if tc.change != nil {
				tc.change(&s)
			}
			ms, err := w.Allocate(t.Context(), appliance.AllocateRequest{Spec: s, Cluster: "main", UUID: uuidA, Names: []string{"node0", "node1", "node2", "node3"}})
			if tc.fails != "" {
				if !appliance.IsProblem(err, tc.fails) {
					t.Fatalf("got %v, want %s", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, hosts(ms)); diff != "" {
				t.Errorf("addresses differ (-want +got):\n%s", diff)
			}
			for _, m := range ms {
				if m.Placement == appliance.PlacementVM && m.ControlFrom != "192.168.122.1" {
					t.Errorf("%s doesn't know that pgapp comes from the host's address, but from %q", m.Name, m.ControlFrom)
				}
			}
		})
	}
}

func TestAllocateBesideOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.cluster(t, "main", uuidA, 2)
	b := w.cluster(t, "second", uuidB, 2, a.Members...)
	if diff := cmp.Diff([]string{"192.168.122.1", "192.168.122.103", "192.168.122.104"}, hosts(b.Members)); diff != "" {
		t.Errorf("addresses differ (-want +got):\n%s", diff)
	}
	if a.Members[0].Port != 5432 || b.Members[0].Port != 5433 {
		t.Errorf("got ports %d and %d on the host, want 5432 and 5433", a.Members[0].Port, b.Members[0].Port)
	}
	macs := map[string]bool{}
	for _, m := range append(a.Members[1:], b.Members[1:]...) {
		if macs[m.MAC] || m.UUID == "" || m.Domain == "" || m.Placement != appliance.PlacementVM {
			t.Errorf("got %+v", m)
		}
		macs[m.MAC] = true
	}
}
