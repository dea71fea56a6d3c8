package control

import (
	"net"
	"testing"

	"pgapp/appliance"
)

func TestMoveEndpointsOnlyFromPortsThatWereNeverHeld(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.122.9")})
	d.idle(t, "main")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	taken := appliance.Endpoints{RW: l.Addr().(*net.TCPAddr).Port, RO: 1}
	set := func(c *appliance.Cluster) error {
		c.Spec.Endpoint, c.Endpoints = appliance.EndpointOn, &taken
		return nil
	}
	if _, err := d.st.UpdateCluster(t.Context(), "main", set); err != nil {
		t.Fatal(err)
	}
	ports := func() appliance.Cluster {
		t.Helper()
		c, err := d.st.Cluster(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := MoveEndpoints(t.Context(), d.Controller, "main", appliance.Endpoints{RW: 1, RO: 2}); err != nil || *ports().Endpoints != taken {
		t.Errorf("a late report moved the ports to %+v, error %v", ports().Endpoints, err)
	}
	if err := MoveEndpoints(t.Context(), d.Controller, "main", taken); err != nil {
		t.Fatal(err)
	}
	moved := *ports().Endpoints
	if moved.RW == taken.RW || moved.RO == taken.RW {
		t.Errorf("the ports are still %+v", moved)
	}
	if err := HoldEndpoints(t.Context(), d.Controller, "main", taken); err != nil || ports().EndpointsHeld {
		t.Errorf("held %v by a late report, error %v", ports().EndpointsHeld, err)
	}
	if err := HoldEndpoints(t.Context(), d.Controller, "main", moved); err != nil || !ports().EndpointsHeld {
		t.Errorf("held %v, error %v", ports().EndpointsHeld, err)
	}
	if err := MoveEndpoints(t.Context(), d.Controller, "main", moved); err != nil || *ports().Endpoints != moved {
		t.Errorf("ports that were held are moved to %+v, error %v", ports().Endpoints, err)
	}
}
