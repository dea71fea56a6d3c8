package ha_test

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// scene is a cluster of a primary and two standbys that can be made ill.
type scene struct {
	s ha.Situation
}

func newScene() *scene {
	line := appliance.Line{Timeline: 1}
	known := ha.Known{Identifier: "7", Line: line, Primary: "node0", Epoch: 1, Promise: ha.Over("node1", "node2")}
	c := &scene{s: ha.Situation{Known: known, Quorum: true, Shared: true}}
	for _, name := range []string{"node0", "node1", "node2"} {
		o := ha.Sighting{
			Member: name, Sign: appliance.Sign{Vital: appliance.VitalRunning}, Fresh: ha.Answers, Session: ha.Answers,
			Standing: ha.Standing{Member: name, Answered: true, Primary: name == "node0", Identifier: "7", Line: line, Received: 100, Replayed: 100},
		}
		if name == "node0" {
			o.Streams = []string{"node1", "node2"}
		}
		c.s.Members = append(c.s.Members, o)
	}
	return c
}

func (c *scene) member(name string) *ha.Sighting {
	for i := range c.s.Members {
		if c.s.Members[i].Member == name {
			return &c.s.Members[i]
		}
	}
	return nil
}

// deaf makes the member answer nobody.
func (c *scene) deaf(name string, fresh ha.Answer) {
	o := c.member(name)
	o.Fresh, o.Session, o.Standing.Answered, o.Streams = fresh, ha.Silent, false, nil
}

func (c *scene) gone(name string) {
	c.deaf(name, ha.Refuses)
	c.member(name).Sign.Vital = appliance.VitalGone
}

// unheard has the standbys hear nothing from the primary.
func (c *scene) unheard(names ...string) {
	for _, n := range names {
		c.member(n).Quiet = time.Minute
	}
}

const tick = 500 * time.Millisecond

// acts are the acts that the looks lead to, and when the first one that is not withheld
// came.
func (c *scene) acts(looks int, during func(look int)) (first time.Duration, act ha.Act, last []ha.Act) {
	var m ha.Memory
	for i := range looks {
		if during != nil {
			during(i)
		}
		now := time.Duration(i) * tick
		m, last = ha.Decide(m, c.s, ha.LocalPace(), now)
		for _, a := range last {
			if a.Withheld == "" && act.Deed == "" {
				first, act = now, a
			}
		}
	}
	return first, act, last
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ill   func(*scene)
		deed  ha.Deed
		after time.Duration
		says  string
	}{
		{name: "all is well", ill: func(*scene) {}},
		{"a process that is gone needs two looks", func(c *scene) { c.gone("node0") }, ha.Replace, tick, "died"},
		{"a process that is gone, and a port that answers", func(c *scene) {
			c.member("node0").Sign.Vital = appliance.VitalGone
		}, "", 0, ""},
		{"a machine that is off, and a port that is silent", func(c *scene) {
			c.gone("node0")
			c.member("node0").Fresh = ha.Silent
		}, ha.Replace, tick, "died"},
		{"one that somebody shut down is started again", func(c *scene) {
			c.gone("node0")
			c.member("node0").Clean = true
		}, ha.Revive, 3 * time.Second, "shut down"},
		{"halted by the machine's word", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.member("node0").Sign.Vital = appliance.VitalHalted
		}, ha.Replace, 3 * time.Second, "halted"},
		{"halted, but its sessions go on", func(c *scene) {
			c.member("node0").Sign.Vital, c.member("node0").Fresh = appliance.VitalHalted, ha.Answers
		}, "", 0, ""},
		{"held by a debugger", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.member("node0").Sign.Vital = appliance.VitalDebugged
			c.unheard("node1", "node2")
		}, "", 0, ""},
		{"a disk that can't be written", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.member("node0").Sign.Vital = appliance.VitalDisk
			c.unheard("node1", "node2")
		}, "", 0, ""},
		{"silent for all", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.unheard("node1", "node2")
		}, ha.Replace, 3 * time.Second, "silent"},
		{"silent for pgapp alone", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.unheard("node1")
		}, "", 0, ""},
		{"silent, and no standby answers", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.deaf("node1", ha.Refuses)
			c.deaf("node2", ha.Silent)
		}, "", 0, ""},
		{"no new connections", func(c *scene) { c.member("node0").Fresh = ha.Silent }, ha.Replace, 10 * time.Second, "hangs"},
		{"no new connections anywhere", func(c *scene) {
			for _, n := range []string{"node0", "node1", "node2"} {
				c.member(n).Fresh = ha.Silent
			}
		}, "", 0, ""},
		{"too many clients", func(c *scene) {
			c.deaf("node0", ha.Denies)
			c.unheard("node1", "node2")
		}, "", 0, ""},
		{"died on a full disk", func(c *scene) {
			c.gone("node0")
			c.member("node0").Full = true
		}, "", 0, "make room"},
		{"recovering", func(c *scene) {
			c.deaf("node0", ha.Starts)
			c.unheard("node1", "node2")
		}, "", 0, ""},
		{"dead, and no quorum in reach", func(c *scene) {
			c.gone("node0")
			c.gone("node1")
			c.deaf("node2", ha.Silent)
		}, ha.Revive, tick, string(appliance.ErrNoCandidate)},
		{"halted, and nobody to promote", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.member("node0").Sign.Vital = appliance.VitalHalted
			c.member("node1").Standing.Identifier, c.member("node2").Standing.Identifier = "8", "8"
		}, ha.Revive, 3 * time.Second, "started again"},
		{"all members gone, as after a reboot", func(c *scene) {
			c.gone("node0")
			c.gone("node1")
			c.gone("node2")
		}, ha.Revive, tick, "started again"},
		{"a dead standby", func(c *scene) {
			c.gone("node1")
			c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
		}, ha.Revive, tick, "node1 died"},
		{"a dead standby is taken out of the promise first", func(c *scene) {
			c.gone("node1")
			c.member("node0").Streams = []string{"node2"}
		}, ha.Settle, tick, "promised"},
		{"a promise on record that is not the setting", func(c *scene) {
			c.member("node0").InForce = ha.Over("node1")
		}, ha.Settle, tick, "promised"},
		{"a standby that has to be brought back", func(c *scene) {
			c.member("node1").Standing.Return = appliance.WayLook
			c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
		}, ha.Return, tick, "brought back"},
		{"a standby that streams from another than the primary", func(c *scene) {
			c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
		}, ha.Revive, 10 * time.Second, "node1 receives nothing from the primary"},
		{"a second writer is ended", func(c *scene) { c.member("node1").Standing.Primary = true }, ha.Revive, tick, "beside"},
		{"a writer alone may be the real primary", func(c *scene) {
			c.member("node1").Standing.Primary = true
			c.member("node0").Standing.Answered, c.member("node0").Session = false, ha.Denies
		}, "", 0, "adopt"},
		{"a writer alone, and the primary shut down", func(c *scene) {
			c.gone("node0")
			c.member("node0").Clean, c.member("node1").Standing.Primary = true, true
		}, "", 0, "adopt"},
		{"a writer alone, and the primary dead", func(c *scene) {
			c.gone("node0")
			c.member("node1").Standing.Primary = true
		}, "", 0, "adopt"},
		{"a person has stopped the primary", func(c *scene) { c.s.Members = c.s.Members[1:] }, "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			tt.ill(c)
			after, act, last := c.acts(30, nil)
			if act.Deed != tt.deed || after != tt.after {
				t.Fatalf("got %q after %s, want %q after %s: %+v", act.Deed, after, tt.deed, tt.after, last)
			}
			said := act.Evidence
			for _, a := range last {
				said += a.Evidence + a.Withheld
			}
			if !strings.Contains(said, tt.says) {
				t.Errorf("it says %q, want %q", said, tt.says)
			}
		})
	}
}

func TestDecideWithholds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(*ha.Situation)
		why  string
	}{
		{"paused", func(s *ha.Situation) { s.HeldReplace = "paused" }, "paused"},
		{"three in an hour", func(s *ha.Situation) { s.Failovers = 3 }, "a person"},
		{"nothing is promised since the last one", func(s *ha.Situation) { s.Failovers, s.Known.Promise = 1, appliance.Promise{} }, "promised"},
		{"the last one is too near", func(s *ha.Situation) {
			s.Failovers, s.Quorum, s.Known.Promise, s.Since = 1, false, appliance.Promise{}, time.Second
		}, "60 s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			c.gone("node0")
			tt.set(&c.s)
			_, act, last := c.acts(30, nil)
			if act.Deed != "" || len(last) != 1 || last[0].Deed != ha.Replace || !strings.Contains(last[0].Withheld, tt.why) {
				t.Errorf("got %+v %+v, want it withheld with %q", act, last, tt.why)
			}
		})
	}
}

// TestDecideForgetsWhatItSawBeforeAStall lets the looks stall just before a silence has
// lasted long enough.
func TestDecideForgetsWhatItSawBeforeAStall(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"late", "silent"} {
		c := newScene()
		c.deaf("node0", ha.Silent)
		c.unheard("node1", "node2")
		normal := c.s.Members
		after, act, _ := c.acts(30, func(look int) {
			c.s.Stalled, c.s.Members = false, normal
			if look != 5 {
				return
			}
			c.s.Stalled = how == "late"
			if how == "silent" {
				c.s.Members = nil
				for _, o := range normal {
					o.Fresh, o.Session, o.Standing.Answered = ha.Silent, ha.Silent, false
					c.s.Members = append(c.s.Members, o)
				}
			}
		})
		if want := 6*tick + 3*time.Second; act.Deed != ha.Replace || after != want {
			t.Errorf("%s: got %q after %s, want it after %s", how, act.Deed, after, want)
		}
	}
}

// TestDecideWaitsLongerAfterEachAttempt counts the attempts on a standby that stays dead.
func TestDecideWaitsLongerAfterEachAttempt(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.gone("node1")
	c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
	var m ha.Memory
	var at []time.Duration
	for i := range 400 {
		var acts []ha.Act
		now := time.Duration(i) * tick
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), now)
		if len(acts) > 0 && acts[0].Withheld == "" {
			at = append(at, now)
		}
	}
	if len(at) < 5 || at[1]-at[0] > 2*time.Second || at[len(at)-1]-at[len(at)-2] < 10*time.Second {
		t.Errorf("attempts at %v", at)
	}
}

// TestDecideReplacesAPrimaryAgainAtOnce has two members take turns as the primary, and each
// die soon after. A replacement that has succeeded doesn't hold up the next one.
func TestDecideReplacesAPrimaryAgainAtOnce(t *testing.T) {
	t.Parallel()
	var m ha.Memory
	look := 0
	for turn := range 12 {
		primary, other := "node0", "node1"
		if turn%2 == 1 {
			primary, other = other, primary
		}
		c := newScene()
		c.s.Known.Primary, c.s.Known.Promise = primary, ha.Over(other, "node2")
		for _, name := range []string{"node0", "node1"} {
			o := c.member(name)
			if o.Standing.Primary, o.Streams = name == primary, nil; o.Standing.Primary {
				o.Streams = []string{other, "node2"}
			}
		}
		replaced := -1
		for i := range 20 {
			if i == 5 {
				c.gone(primary)
			}
			var acts []ha.Act
			m, acts = ha.Decide(m, c.s, ha.LocalPace(), time.Duration(look)*tick)
			look++
			if len(acts) > 0 && acts[0].Deed == ha.Replace && acts[0].Withheld == "" {
				replaced = i
				break
			}
		}
		if replaced != 6 {
			t.Errorf("turn %d: %s was replaced at look %d, want the second look after its end, 6", turn, primary, replaced)
		}
	}
}

// TestDecideSettlesThePromiseAgainSoon has a standby stream and not stream in turn. The
// promise follows it, though it was settled often, since writes may wait for it.
func TestDecideSettlesThePromiseAgainSoon(t *testing.T) {
	t.Parallel()
	c := newScene()
	var m ha.Memory
	var last, longest time.Duration
	for i := range 200 {
		streams := []string{"node1", "node2"}[:1+i/4%2]
		c.member("node0").Streams = streams
		var acts []ha.Act
		now := time.Duration(i) * tick
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), now)
		if len(acts) > 0 && acts[0].Deed == ha.Settle && acts[0].Withheld == "" {
			last, longest = now, max(longest, now-last)
			c.s.Known.Promise = ha.Over(streams...)
		}
	}
	if last == 0 || longest > 8*time.Second {
		t.Errorf("the promise was settled last at %s, the longest pause was %s", last, longest)
	}
}

// TestSilenceLastsSinceTheQuestion: a look that waits a second for an answer has found
// a second of silence when it ends.
func TestSilenceLastsSinceTheQuestion(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.deaf("node0", ha.Silent)
	c.member("node0").Sign.Vital = appliance.VitalHalted
	for _, tt := range []struct{ took, want time.Duration }{{0, 3600 * time.Millisecond}, {time.Second, 2400 * time.Millisecond}} {
		c.s.Took = tt.took
		var m ha.Memory
		var acts []ha.Act
		first := time.Second
		now := first
		for ; now < time.Minute; now += 1200 * time.Millisecond {
			if m, acts = ha.Decide(m, c.s, ha.LocalPace(), now); len(acts) > 0 {
				break
			}
		}
		if got := now - first; got != tt.want {
			t.Errorf("looks of %s: replaced %s after the end of the first one, want %s", tt.took, got, tt.want)
		}
	}
}
