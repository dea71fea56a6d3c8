package appliance_test

import (
	"testing"

	"pgapp/appliance"
)

func TestFreeEndpoints(t *testing.T) {
	t.Parallel()
	has := func(rw int) appliance.Cluster {
		return appliance.Cluster{Endpoints: &appliance.Endpoints{RW: rw, RO: rw + 1}}
	}
	for _, c := range []struct {
		name   string
		others []appliance.Cluster
		bound  map[int]bool
		want   int
	}{
		{name: "the first cluster", want: 5000},
		{name: "one that never had any", others: []appliance.Cluster{{}}, want: 5000},
		{name: "the second", others: []appliance.Cluster{has(5000)}, want: 5002},
		{name: "the pair of one that was removed", others: []appliance.Cluster{has(5002)}, want: 5000},
		{name: "somebody has the port for writes", bound: map[int]bool{5000: true}, want: 5002},
		{name: "somebody has the port for reads", bound: map[int]bool{5001: true}, want: 5002},
		{name: "both", others: []appliance.Cluster{has(5002)}, bound: map[int]bool{5001: true, 5005: true}, want: 5006},
	} {
		got, ok := appliance.FreeEndpoints(c.others, func(port int) bool { return !c.bound[port] })
		if !ok || got.RW != c.want || got.RO != c.want+1 {
			t.Errorf("%s: got %+v, %v", c.name, got, ok)
		}
	}
	if got, ok := appliance.FreeEndpoints(nil, func(int) bool { return false }); ok {
		t.Errorf("no port is free: got %+v", got)
	}
}

// TestEndpointsAreANewClustersDefault gives endpoints to a new cluster, and to one of an
// older program, whose record says nothing of them, by a wish only.
func TestEndpointsAreANewClustersDefault(t *testing.T) {
	t.Parallel()
	if s := (appliance.Spec{}).WithDefaults(); !s.HasEndpoints() {
		t.Errorf("a new cluster's spec is %+v", s.EndpointSpec)
	}
	older := appliance.EndpointSpec{}
	if older.HasEndpoints() || older.EndpointWishes(appliance.EndpointSpec{}) != nil || older.EndpointWishes(appliance.EndpointSpec{Endpoint: appliance.EndpointOff}) != nil {
		t.Error("a cluster of an older program gets endpoints, or a change, without a wish")
	}
	want := appliance.EndpointSpec{Endpoint: appliance.EndpointOn}
	if got := older.EndpointWishes(want); got == nil || *got != want {
		t.Errorf("a wish for endpoints changes %+v, want %+v", got, want)
	}
}

func TestEndpointsChangeInPlace(t *testing.T) {
	t.Parallel()
	c := appliance.Cluster{Spec: appliance.Spec{EndpointSpec: appliance.EndpointSpec{EndpointWait: "3s"}}}
	ch := appliance.Change{Endpoint: &appliance.EndpointSpec{Endpoint: appliance.EndpointOff, ROLagMiB: 2}}
	got := ch.Applied(ch.Applied(c)).Spec.EndpointSpec
	if want := (appliance.EndpointSpec{Endpoint: appliance.EndpointOff, EndpointWait: "3s", ROLagMiB: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
