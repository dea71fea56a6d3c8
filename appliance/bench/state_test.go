package bench_test

import (
	"slices"
	"strings"
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
	all = append(all, bench.State{Primary: whole().Primary, Durability: whole().Durability, Running: whole().Members})
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

// statusOf is a whole cluster with these members, the first of which is the primary.
func statusOf(durability appliance.Durability, members ...string) appliance.ClusterStatus {
	s := appliance.ClusterStatus{UUID: "u", Primary: members[0], Durability: durability}
	for _, m := range members {
		s.Members = append(s.Members, appliance.MemberStatus{Name: m, State: appliance.StateStreaming})
	}
	return s
}

func TestOriginalIsWhatTheClusterCanStillBe(t *testing.T) {
	t.Parallel()
	stopped := statusOf(appliance.DurabilityAsync, "node0", "node1", "node2", "node3")
	stopped.Members[2].State = appliance.StateStopped
	other := statusOf(appliance.DurabilityAsync, "node0", "node1", "node4", "node5")
	other.Members[3].State = appliance.StateStopped
	gone := statusOf(appliance.DurabilityAsync, "node2", "node3")
	alone := statusOf(appliance.DurabilityAsync, "node2")
	for name, c := range map[string]struct {
		now  appliance.ClusterStatus
		want bench.State
	}{
		"a member is stopped":       {stopped, bench.State{Primary: "node1", Durability: appliance.DurabilityQuorum, Running: []string{"node0", "node1", "node2", "node3"}}},
		"members were replaced":     {other, bench.State{Primary: "node1", Durability: appliance.DurabilityQuorum, Running: []string{"node0", "node1", "node4"}}},
		"the primary was removed":   {gone, bench.State{Primary: "node2", Durability: appliance.DurabilityQuorum, Running: []string{"node2", "node3"}}},
		"all standbys were removed": {alone, bench.State{Primary: "node2", Durability: appliance.DurabilityAsync, Running: []string{"node2"}}},
	} {
		if got := bench.Original(whole(), c.now); got.Primary != c.want.Primary || got.Durability != c.want.Durability || !slices.Equal(got.Running, c.want.Running) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestChangedNamesWhatIsOther(t *testing.T) {
	t.Parallel()
	began := statusOf(appliance.DurabilityAsync, "node0", "node1")
	if why := bench.Changed(began, statusOf(appliance.DurabilityAsync, "node0", "node1")); why != "" {
		t.Errorf("nothing has changed, and it says %q", why)
	}
	for want, change := range map[string]func(*appliance.ClusterStatus){
		"made anew":         func(s *appliance.ClusterStatus) { s.UUID = "v" },
		"primary is node1":  func(s *appliance.ClusterStatus) { s.Primary = "node1" },
		"come back":         func(s *appliance.ClusterStatus) { s.Epoch = 2 },
		"durability":        func(s *appliance.ClusterStatus) { s.Durability = appliance.DurabilityQuorum },
		"node0, and were":   func(s *appliance.ClusterStatus) { s.Members = s.Members[:1] },
		"that run are node": func(s *appliance.ClusterStatus) { s.Members[1].State = appliance.StateStopped },
	} {
		now := statusOf(appliance.DurabilityAsync, "node0", "node1")
		change(&now)
		if why := bench.Changed(began, now); !strings.Contains(why, want) {
			t.Errorf("the reason is %q, want %q in it", why, want)
		}
	}
}
