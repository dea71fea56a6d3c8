package routing_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/routing"
)

// scene is a cluster of a primary and two standbys, all well, and what is known of it.
type scene struct {
	c appliance.Cluster
	f routing.Facts
}

const mib appliance.LSN = 1 << 20

func newScene() *scene {
	s := &scene{c: appliance.Cluster{
		Name: "main", Phase: appliance.PhaseReady, Primary: "node0", Epoch: 1,
		Spec:      appliance.Spec{EndpointSpec: appliance.EndpointSpec{Endpoint: appliance.EndpointOn}},
		Endpoints: &appliance.Endpoints{RW: 5000, RO: 5001},
	}}
	s.f = routing.Facts{Verified: true, Looks: map[string]routing.Look{}, Serving: map[string]bool{}}
	for i, host := range []string{"127.0.1.1", "127.0.1.2", "127.0.1.3"} {
		name := appliance.MemberName(i)
		s.c.Members = append(s.c.Members, appliance.Member{Name: name, Host: host, Port: 5432})
		s.f.Looks[name] = routing.Look{Answers: true, Primary: i == 0, Receiving: i > 0, Position: 100 * mib}
	}
	return s
}

func (s *scene) member(name string) *appliance.Member {
	return &s.c.Members[appliance.MemberNumber(name)]
}

// sees changes what was last seen of a member.
func (s *scene) sees(name string, change func(*routing.Look)) {
	l := s.f.Looks[name]
	change(&l)
	s.f.Looks[name] = l
}

func (s *scene) change(phase appliance.ChangePhase, to string) {
	s.c.Change = &appliance.PrimaryChange{Kind: appliance.OpFailover, From: "node0", To: to, Phase: phase}
}

// said is a route in short: where rw leads, "waits" where new connections wait, and the
// standbys that ro leads to: with + those that take new connections, with ! those that
// are drained.
func said(r appliance.Route) string {
	out := []string{"rw:"}
	if r.Primary != nil {
		out = append(out, r.Primary.Name)
	}
	if r.Closed {
		out = append(out, "waits")
	}
	out = append(out, "ro:")
	for _, s := range r.Standbys {
		text := s.Name
		if s.New {
			text += "+"
		}
		if s.Drain {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

const (
	whole  = "rw: node0 ro: node0 node1+ node2+"
	closed = "rw: node0 waits ro: node0 node1+ node2+"
	cut    = "rw: waits ro: node0 node1+ node2+"
)

// TestOfPrimary has the writes follow what is on record and what is known of the primary.
func TestOfPrimary(t *testing.T) {
	t.Parallel()
	serving := func(s *scene) { s.f.Serving = map[string]bool{"node1": true, "node2": true} }
	for _, tt := range []struct {
		name string
		set  func(*scene)
		want string
	}{
		{"all is well", func(*scene) {}, whole},
		{"the primary is not verified", func(s *scene) { s.f.Verified = false }, closed},
		{"nothing is known, as in a daemon that has just begun", func(s *scene) { s.f = routing.Facts{} }, "rw: node0 waits ro: node0 node1 node2"},
		{"nothing is known but what the process holds", func(s *scene) {
			s.f.Looks = nil
			serving(s)
		}, whole},
		{"the primary is silent: its connections may go on", func(s *scene) {
			s.f.Looks["node0"] = routing.Look{}
			serving(s)
		}, whole},
		{"the primary is a standby", func(s *scene) {
			s.sees("node0", func(l *routing.Look) { l.Primary = false })
			serving(s)
		}, cut},
		{"the primary is about to be ended in its place", func(s *scene) { s.f.Cut = true }, cut},
		{"the cluster is being made", func(s *scene) { s.c.Phase = appliance.PhaseCreating }, cut},
		{"the cluster's creation failed", func(s *scene) { s.c.Phase = appliance.PhaseFailed }, cut},
		{"a person has stopped the cluster", func(s *scene) { s.c.WantStopped = true }, closed},
		{"a person has stopped the primary", func(s *scene) { s.member("node0").WantStopped = true }, closed},
		{"a person has paused pgapp", func(s *scene) { s.c.Pause = &appliance.Pause{Since: time.Now()} }, whole},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			tt.set(s)
			if r, ok := routing.Of(s.c, s.f); !ok || said(r) != tt.want {
				t.Errorf("got %q, %v, want %q", said(r), ok, tt.want)
			}
		})
	}
}

// TestOfChange has rw lead nowhere while nobody is surely the primary, and ro go on.
func TestOfChange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(*scene)
		want string
	}{
		{"a change that looks has changed nothing", func(s *scene) { s.change(appliance.ChangeLooking, "") }, whole},
		{"a primary that stops keeps its connections until it ends", func(s *scene) { s.change(appliance.ChangeStopping, "") }, closed},
		{"fenced", func(s *scene) { s.change(appliance.ChangeFencing, "") }, cut},
		{"electing", func(s *scene) { s.change(appliance.ChangeElecting, "") }, cut},
		{"the candidate is on record, and not promoted yet", func(s *scene) {
			s.change(appliance.ChangePromoting, "node1")
			s.c.Primary = "node1"
		}, "rw: waits ro: node0 node1 node2+"},
		{"a candidate that was promoted counts before the end no more than before", func(s *scene) {
			s.change(appliance.ChangePromoting, "node1")
			s.c.Primary = "node1"
			s.sees("node1", func(l *routing.Look) { l.Primary = true })
		}, "rw: waits ro: node0 node1 node2+"},
		{"a candidate is given up", func(s *scene) { s.change(appliance.ChangeRetracting, "node1") }, cut},
		{"the old primary is started again", func(s *scene) { s.change(appliance.ChangeReturning, "") }, cut},
		{"done, and verified", func(s *scene) { s.promoted(appliance.ChangeDone) }, "rw: node1 ro: node0! node1 node2+"},
		{"done, and not verified", func(s *scene) {
			s.promoted(appliance.ChangeDone)
			s.f.Verified = false
		}, "rw: node1 waits ro: node0! node1 node2+"},
		{"cancelled", func(s *scene) { s.change(appliance.ChangeCancelled, "") }, whole},
		{"refused", func(s *scene) { s.change(appliance.ChangeRefused, "") }, whole},
		{"paused in the middle", func(s *scene) {
			s.change(appliance.ChangeFencing, "")
			s.c.Pause = &appliance.Pause{Since: time.Now()}
		}, cut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			s.f.Serving = map[string]bool{"node1": true, "node2": true}
			tt.set(s)
			if r, ok := routing.Of(s.c, s.f); !ok || said(r) != tt.want {
				t.Errorf("got %q, %v, want %q", said(r), ok, tt.want)
			}
		})
	}
}

// promoted has node1 be the primary, and node0 wait for its return.
func (s *scene) promoted(phase appliance.ChangePhase) {
	s.change(phase, "node1")
	s.c.Primary, s.c.Epoch, s.member("node0").Return = "node1", 2, appliance.WayLook
	s.f.Looks["node0"] = routing.Look{Gone: true}
	s.sees("node1", func(l *routing.Look) { l.Primary, l.Receiving = true, false })
}

// TestOfStandby has ro lead to the standbys that are near enough.
func TestOfStandby(t *testing.T) {
	t.Parallel()
	behind := func(by appliance.LSN) func(*scene) {
		return func(s *scene) { s.sees("node1", func(l *routing.Look) { l.Position = 100*mib - by }) }
	}
	for _, tt := range []struct {
		name string
		set  func(*scene)
		want string
	}{
		{"as far behind as it may be", behind(16 * mib), "node1+ node2+"},
		{"further behind: no new connections, and it keeps those it has", behind(16*mib + 1), "node1 node2+"},
		{"a limit of its own", func(s *scene) {
			s.c.Spec.ROLagMiB = 1
			behind(2 * mib)(s)
		}, "node1 node2+"},
		{"ahead of what was seen of the primary", behind(^appliance.LSN(0)), "node1+ node2+"},
		{"it receives nothing", func(s *scene) { s.sees("node1", func(l *routing.Look) { l.Receiving = false }) }, "node1 node2+"},
		{"it gives no answer", func(s *scene) { s.f.Looks["node1"] = routing.Look{} }, "node1 node2+"},
		{"it takes no connections", func(s *scene) { s.sees("node1", func(l *routing.Look) { l.Gone = true }) }, "node1 node2+"},
		{"it takes writes, as after a promotion by hand", func(s *scene) { s.sees("node1", func(l *routing.Look) { l.Primary = true }) }, "node1 node2+"},
		{"a person has stopped it", func(s *scene) { s.member("node1").WantStopped = true }, "node1! node2+"},
		{"it has to be brought back", func(s *scene) { s.member("node1").Return = appliance.WayClone }, "node1! node2+"},
		{"it was not looked at and took none so far", func(s *scene) { delete(s.f.Looks, "node1") }, "node1 node2+"},
		{"it was not looked at and took them so far", func(s *scene) {
			delete(s.f.Looks, "node1")
			s.f.Serving["node1"] = true
		}, "node1+ node2+"},
		{"stopped by a person counts before what it took so far", func(s *scene) {
			delete(s.f.Looks, "node1")
			s.f.Serving["node1"], s.member("node1").WantStopped = true, true
		}, "node1! node2+"},
		{"the primary is silent: nobody can tell how far it is behind", func(s *scene) {
			s.f.Looks["node0"] = routing.Look{}
			s.f.Serving["node2"] = true
		}, "node1 node2+"},
		{"no standby is left that takes new ones", func(s *scene) {
			for _, name := range []string{"node1", "node2"} {
				s.f.Looks[name] = routing.Look{Gone: true}
			}
		}, "node1 node2"},
		{"a standby that takes none any more doesn't, also while the primary changes", func(s *scene) {
			s.change(appliance.ChangeFencing, "")
			s.f.Serving = map[string]bool{"node2": true}
		}, "node1 node2+"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			tt.set(s)
			r, _ := routing.Of(s.c, s.f)
			if _, got, _ := strings.Cut(said(r), "ro: node0 "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOfNothing has a cluster without endpoints lead nowhere.
func TestOfNothing(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*scene){
		"off":                       func(s *scene) { s.c.Spec.Endpoint = appliance.EndpointOff },
		"a spec that says nothing":  func(s *scene) { s.c.Spec.Endpoint = "" },
		"no ports are allotted yet": func(s *scene) { s.c.Endpoints = nil },
		"being removed":             func(s *scene) { s.c.Phase = appliance.PhaseRemoving },
	} {
		s := newScene()
		set(s)
		if r, ok := routing.Of(s.c, s.f); ok {
			t.Errorf("%s: got %q", name, said(r))
		}
	}
}

// TestOfSpec has the route carry what the spec says.
func TestOfSpec(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		set     func(*scene)
		wait    time.Duration
		primary appliance.ROPrimary
	}{
		{"defaults", func(*scene) {}, 10 * time.Second, appliance.ROPrimaryLast},
		{"as wanted", func(s *scene) {
			s.c.Spec.EndpointWait, s.c.Spec.ROPrimary = "3s", appliance.ROPrimaryAlways
		}, 3 * time.Second, appliance.ROPrimaryAlways},
		{"never, and no wait", func(s *scene) {
			s.c.Spec.EndpointWait, s.c.Spec.ROPrimary = "0s", appliance.ROPrimaryNever
		}, 0, appliance.ROPrimaryNever},
		{"nobody waits for a primary that a person has stopped", func(s *scene) { s.member("node0").WantStopped = true }, 0, appliance.ROPrimaryLast},
		{"nobody waits for a cluster that a person has stopped", func(s *scene) { s.c.WantStopped = true }, 0, appliance.ROPrimaryLast},
		{"one waits though a standby is stopped", func(s *scene) { s.member("node1").WantStopped = true }, 10 * time.Second, appliance.ROPrimaryLast},
	} {
		s := newScene()
		tt.set(s)
		r, _ := routing.Of(s.c, s.f)
		if r.Wait != tt.wait || r.ROPrimary != tt.primary {
			t.Errorf("%s: got a wait of %s and %q", tt.name, r.Wait, r.ROPrimary)
		}
		if r.Cluster != "main" || r.RW != "127.0.0.1:5000" || r.RO != "127.0.0.1:5001" || r.MaxConnections != 1000 || r.Primary.Address != "127.0.1.1:5432" {
			t.Errorf("%s: got %+v", tt.name, r)
		}
	}
}

// TestOfAskedAgain has the answer not change what it was made of.
func TestOfAskedAgain(t *testing.T) {
	t.Parallel()
	s := newScene()
	first, _ := routing.Of(s.c, s.f)
	first.Primary.Name, first.Standbys[1].New = "node9", false
	if again, _ := routing.Of(s.c, s.f); said(again) != whole {
		t.Errorf("got %q", said(again))
	}
}

func TestLookOf(t *testing.T) {
	t.Parallel()
	answered := ha.Standing{Answered: true, Received: 9, Replayed: 7}
	primary := answered
	primary.Primary = true
	detached := answered
	detached.Detached = true
	for _, tt := range []struct {
		name string
		seen ha.Sighting
		want routing.Look
	}{
		{"a standby's position is what it has replayed", ha.Sighting{Session: ha.Answers, Standing: answered}, routing.Look{Answers: true, Receiving: true, Position: 7}},
		{"a primary's is what it has flushed", ha.Sighting{Session: ha.Answers, Standing: primary}, routing.Look{Answers: true, Primary: true, Receiving: true, Position: 9}},
		{"no receiver", ha.Sighting{Session: ha.Answers, Standing: detached}, routing.Look{Answers: true, Position: 7}},
		{"a silent one is not gone", ha.Sighting{Session: ha.Silent, Fresh: ha.Silent}, routing.Look{Receiving: true}},
		{"one that has too many clients is not gone", ha.Sighting{Session: ha.Denies, Fresh: ha.Denies}, routing.Look{Receiving: true}},
		{"one that refuses is", ha.Sighting{Session: ha.Silent, Fresh: ha.Refuses}, routing.Look{Gone: true, Receiving: true}},
		{"one that starts is", ha.Sighting{Session: ha.Denies, Fresh: ha.Starts}, routing.Look{Gone: true, Receiving: true}},
		{"one that is gone by its machine's word is", ha.Sighting{Session: ha.Silent, Sign: appliance.Sign{Vital: appliance.VitalGone}}, routing.Look{Gone: true, Receiving: true}},
	} {
		if got := routing.LookOf(tt.seen); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestOfListsEachMember has every member have a place in the route, once, and in the
// record's order, whatever was seen: one that is left out would have its connections cut.
func TestOfListsEachMember(t *testing.T) {
	t.Parallel()
	for _, primary := range []string{"node0", "node1", "node2"} {
		s := newScene()
		s.c.Primary, s.f.Looks = primary, nil
		r, _ := routing.Of(s.c, s.f)
		var names []string
		for _, m := range r.Standbys {
			names = append(names, m.Name)
		}
		if !slices.Equal(names, []string{"node0", "node1", "node2"}) {
			t.Errorf("%s is the primary: got %v", primary, names)
		}
	}
}
