package bench_test

import (
	"slices"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/bench"
)

func whole() appliance.BenchBefore {
	return appliance.BenchBefore{Primary: "node1", Durability: appliance.DurabilityQuorum, Members: []string{"node0", "node1", "node2", "node3"}}
}

// cluster is a cluster that changes as pgapp's would. It fails the test where commits wait
// for nobody under quorum, or where a change is refused.
type cluster struct {
	t *testing.T
	bench.State
}

func (c *cluster) make(ch bench.Change) {
	c.t.Helper()
	switch ch.Action {
	case bench.Start:
		c.Running = append(c.Running, ch.Member)
	case bench.Stop:
		if ch.Member == c.Primary {
			c.t.Errorf("the primary %s is stopped", c.Primary)
		}
		c.Running = slices.DeleteFunc(slices.Clone(c.Running), func(m string) bool { return m == ch.Member })
	case bench.Switchover:
		if !slices.Contains(c.Running, ch.Member) {
			c.t.Errorf("%s becomes the primary and does not run", ch.Member)
		}
		c.Primary = ch.Member
	case bench.Durability:
		c.Durability = ch.Durability
		c.Running = slices.Clone(whole().Members) // pgapp up starts all
	}
	if c.Durability == appliance.DurabilityQuorum && len(c.Running) < 2 {
		c.t.Errorf("after %+v commits wait for nobody", ch)
	}
}

func TestNextReachesEachStateFromEachOther(t *testing.T) {
	t.Parallel()
	var all []bench.State
	for standbys := range 4 {
		for _, d := range []string{"async", "quorum"} {
			if standbys == 0 && d == "quorum" {
				continue
			}
			w := bench.Wanted(whole(), appliance.BenchVariant{Standbys: standbys, Durability: d})
			if len(w.Running) != standbys+1 || w.Running[0] != "node1" {
				t.Errorf("%d standbys: %q run", standbys, w.Running)
			}
			moved := w
			moved.Primary = w.Running[len(w.Running)-1]
			all = append(all, w, moved)
		}
	}
	all = append(all, bench.Original(whole()))
	for _, from := range all {
		for _, to := range all {
			c := &cluster{t, from}
			for steps := 0; ; steps++ {
				ch := bench.Next(c.State, to)
				if ch.Action == bench.Arrived {
					break
				}
				if steps > 10 {
					t.Fatalf("from %+v to %+v: no end of changes, now %+v", from, to, ch)
				}
				c.make(ch)
			}
			slices.Sort(c.Running)
			want := slices.Sorted(slices.Values(to.Running))
			if c.Primary != to.Primary || c.Durability != to.Durability || !slices.Equal(c.Running, want) {
				t.Errorf("from %+v to %+v: arrived at %+v", from, to, c.State)
			}
		}
	}
}

func TestWithoutLeavesOutStoppedStandbysOnly(t *testing.T) {
	t.Parallel()
	s := appliance.ClusterStatus{Primary: "node0", Phase: appliance.PhaseDegraded, Members: []appliance.MemberStatus{
		{Name: "node0", State: appliance.StateStopped}, {Name: "node1", State: appliance.StateStopped}, {Name: "node2", State: appliance.StateFailed},
	}}
	got := bench.Without(s)
	if len(got.Members) != 2 || got.Members[0].Name != "node0" || got.Members[1].Name != "node2" || got.Phase != appliance.PhaseReady || len(s.Members) != 3 {
		t.Errorf("%+v", got)
	}
	s.Members = s.Members[2:]
	if got := bench.Without(s); got.Phase != appliance.PhaseDegraded {
		t.Errorf("nothing is stopped, and the phase is %s", got.Phase)
	}
}
