package ha_test

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// stalled has a write of the primary's wait while all else goes on.
func (c *scene) stalled() {
	c.member("node0").Write, c.member("node0").Waits = ha.Silent, "IO WalSync"
}

// apart has node1 receive nothing, with node2 in the promise alone.
func (c *scene) apart() {
	c.member("node1").Standing.Detached = true
	c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
}

func TestDecideOnADiskThatStalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ill   func(*scene)
		deed  ha.Deed
		after time.Duration
		says  string
	}{
		{"another member's disk takes writes", func(c *scene) { c.member("node2").Write = ha.Answers }, ha.Replace, 10 * time.Second, "IO WalSync"},
		{"no other disk is seen to take writes", func(c *scene) { c.member("node2").Write = ha.Silent }, "", 0, "no other member"},
		{"the disk is full", func(c *scene) {
			c.member("node2").Write, c.member("node0").Full = ha.Answers, true
		}, "", 0, "make room"},
		{"a debugger holds the server", func(c *scene) {
			c.member("node2").Write, c.member("node0").Sign.Vital = ha.Answers, appliance.VitalDebugged
		}, "", 0, ""},
		{"nobody can be promoted, and a restart mends no disk", func(c *scene) {
			c.member("node2").Write = ha.Answers
			c.member("node1").Standing.Identifier, c.member("node2").Standing.Identifier = "8", "8"
		}, "", 0, "mends no disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			c.stalled()
			tt.ill(c)
			c.decides(t, tt.deed, tt.after, tt.says)
		})
	}
}

// TestDecideForgetsAWriteThatEnded has every fifth look see the disk take a write.
func TestDecideForgetsAWriteThatEnded(t *testing.T) {
	t.Parallel()
	c := newScene()
	_, act, last := c.acts(100, func(look int) {
		c.stalled()
		c.member("node2").Write = ha.Answers
		if look%15 == 0 {
			c.member("node0").Write = ha.Answers
		}
	})
	if act.Deed != "" {
		t.Errorf("got %+v, %+v", act, last)
	}
}

func TestDecideWantsTwoSignalsThatAgree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ill   func(*scene)
		deed  ha.Deed
		after time.Duration
		says  string
	}{
		{"gone by the machine's word, and the kept session answers", func(c *scene) {
			c.member("node0").Sign.Vital, c.member("node0").Fresh = appliance.VitalGone, ha.Silent
			c.member("node1").Fresh, c.member("node2").Fresh = ha.Silent, ha.Silent
		}, "", 0, ""},
		{"gone by the machine's word, and only sessions go on while others take new ones", func(c *scene) {
			c.member("node0").Sign.Vital, c.member("node0").Fresh = appliance.VitalGone, ha.Refuses
		}, ha.Replace, 10 * time.Second, "hangs"},
		{"shut down by the machine's word, and the kept session answers", func(c *scene) {
			o := c.member("node0")
			o.Sign.Vital, o.Fresh, o.Clean = appliance.VitalGone, ha.Silent, true
			c.member("node1").Fresh, c.member("node2").Fresh = ha.Silent, ha.Silent
		}, "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			tt.ill(c)
			c.decides(t, tt.deed, tt.after, tt.says)
		})
	}
}

func TestDecideBringsBackStandbys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ill   func(*scene)
		deed  ha.Deed
		after time.Duration
		says  string
	}{
		{"a lost slot", func(c *scene) {
			c.apart()
			c.member("node0").Lost = []string{"node1"}
		}, ha.Return, tick, "slot is lost"},
		{"a lost slot of one that is marked", func(c *scene) {
			c.apart()
			c.member("node0").Lost, c.member("node1").Standing.Return = []string{"node1"}, appliance.WayClone
		}, ha.Return, tick, "brought back"},
		{"WAL of its own", func(c *scene) {
			c.apart()
			c.member("node1").Standing.Replayed = 200
		}, "", 0, "a person has to look"},
		{"it receives nothing, and was not started yet", (*scene).apart, ha.Revive, 10 * time.Second, "receives nothing"},
		{"it catches up", func(c *scene) {
			c.apart()
			c.member("node1").Standing.Detached, c.member("node0").Connected = false, []string{"node1", "node2"}
		}, "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			tt.ill(c)
			c.decides(t, tt.deed, tt.after, tt.says)
		})
	}
}

// begun are the acts that the looks begin, with their times. An operation of its own
// ends before the next look.
func (c *scene) begun(looks int, during func(now time.Duration)) (acts []ha.Act, at []time.Duration) {
	var m ha.Memory
	for i := range looks {
		now := time.Duration(i) * tick
		if during != nil {
			during(now)
		}
		var last []ha.Act
		m, last = ha.Decide(m, c.s, ha.LocalPace(), now)
		for _, a := range last {
			if a.Withheld == "" {
				acts, at = append(acts, a), append(at, now)
			}
		}
	}
	return acts, at
}

// TestDecideStartsADeadStandbyBesideAPrimaryThatIsIll has a standby die whose answer the
// primary's replacement needs.
func TestDecideStartsADeadStandbyBesideAPrimaryThatIsIll(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		ill     func(*scene)
		replace time.Duration
	}{
		{"halted, and its sessions go on", func(c *scene) {
			c.member("node0").Sign.Vital, c.member("node0").Fresh = appliance.VitalHalted, ha.Silent
			c.member("node0").Streams = []string{"node2"}
		}, 3 * time.Second},
		{"frozen", func(c *scene) {
			c.deaf("node0", ha.Silent)
			c.member("node0").Sign.Vital = appliance.VitalHalted
		}, 3 * time.Second},
		{"hung", func(c *scene) {
			c.member("node0").Fresh, c.member("node0").Streams = ha.Silent, []string{"node2"}
		}, 10 * time.Second},
		{"recovering", func(c *scene) { c.deaf("node0", ha.Starts) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			tt.ill(c)
			c.gone("node1")
			acts, at := c.begun(30, func(now time.Duration) {
				if now == 2*tick {
					*c.member("node1") = *newScene().member("node1")
				}
			})
			if len(acts) == 0 || acts[0].Deed != ha.Revive || acts[0].Member != "node1" || !acts[0].Only || at[0] != tick {
				t.Fatalf("got %+v at %v, want a start of node1 alone at %s", acts, at, tick)
			}
			if tt.replace > 0 && (len(acts) < 2 || acts[1].Deed != ha.Replace || at[1] != tt.replace) {
				t.Errorf("got %+v at %v, want a failover at %s", acts, at, tt.replace)
			}
		})
	}
}

// TestDecideStartsADeadStandbyThatAReplacementWaitsFor has the primary and a standby die,
// and the primary's start in place help nothing.
func TestDecideStartsADeadStandbyThatAReplacementWaitsFor(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.gone("node0")
	c.gone("node1")
	acts, _ := c.begun(3, nil)
	if len(acts) < 2 || acts[0].Member != "node0" || !acts[0].Fence || acts[1].Member != "node1" || !acts[1].Only {
		t.Errorf("got %+v, want a start of node0 and then of node1 alone", acts)
	}
}

// TestDecideStartsADeadStandbyBeforeAnotherComesBack has the one that comes back be the
// first by name.
func TestDecideStartsADeadStandbyBeforeAnotherComesBack(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.apart()
	c.member("node1").Standing.Return = appliance.WayClone
	c.gone("node2")
	c.member("node0").Streams = nil
	if acts, _ := c.begun(2, nil); len(acts) != 1 || acts[0].Member != "node2" || !acts[0].Only {
		t.Errorf("got %+v, want the start of node2 alone", acts)
	}
}

// TestDecideEndsAPrimaryBesideARejoinThatWaitsForIt has an operation run that a failover
// would end.
func TestDecideEndsAPrimaryBesideARejoinThatWaitsForIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, held string
		fence      bool
	}{{"a rejoin", "", true}, {"a start that ends the primary itself", "operation 7 (start) runs", false}} {
		c := newScene()
		c.gone("node0")
		c.gone("node1")
		c.s.Held, c.s.HeldFence = "operation 7 runs", tt.held
		acts, _ := c.begun(3, nil)
		if got := len(acts) > 0 && acts[0].Fence; got != tt.fence {
			t.Errorf("%s: got %+v", tt.name, acts)
		}
	}
}

// TestDecideKnowsTheWriterThatPgappPromotes looks in the middle of a failover.
func TestDecideKnowsTheWriterThatPgappPromotes(t *testing.T) {
	t.Parallel()
	for _, old := range []func(*scene){
		func(c *scene) { c.gone("node0") },
		func(c *scene) { c.member("node0").Standing.Answered, c.member("node0").Session = false, ha.Denies },
	} {
		c := newScene()
		old(c)
		c.member("node1").Standing.Primary = true
		c.s.Held = "operation 7 (failover) runs"
		c.s.HeldReplace, c.s.Moves = c.s.Held, c.s.Held
		_, _, last := c.acts(10, nil)
		if len(last) == 0 {
			t.Errorf("nothing is told")
		}
		for _, a := range last {
			if a.Withheld != c.s.Moves {
				t.Errorf("it says %q", a.Withheld)
			}
		}
	}
}

// TestDecideMarksAStandbyThatAStartDoesNotHelp follows the acts on one that goes on
// receiving nothing.
func TestDecideMarksAStandbyThatAStartDoesNotHelp(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.apart()
	var done []ha.Act
	var m ha.Memory
	for i := range 60 {
		var acts []ha.Act
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), time.Duration(i)*tick)
		for _, a := range acts {
			if a.Withheld == "" {
				done = append(done, a)
			}
		}
	}
	if len(done) < 2 || done[0].Deed != ha.Revive || done[1].Deed != ha.Return || done[1].Mark != appliance.WayLook {
		t.Errorf("got %+v", done)
	}
}

// TestDecideDoesOneActAtATime has one standby wait for its next attempt: the other isn't
// held up, and both never begin at once.
func TestDecideDoesOneActAtATime(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.member("node1").Standing.Return, c.member("node2").Standing.Return = appliance.WayClone, appliance.WayClone
	c.member("node0").Streams = nil
	begun := map[string]int{}
	var m ha.Memory
	for i := range 40 {
		var acts []ha.Act
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), time.Duration(i)*tick)
		n := 0
		for _, a := range acts {
			if a.Withheld == "" {
				begun[a.Member]++
				n++
			}
		}
		if n > 1 {
			t.Fatalf("%d acts at once: %+v", n, acts)
		}
	}
	if begun["node1"] < 3 || begun["node2"] < 3 {
		t.Errorf("begun: %v", begun)
	}
}

// TestDecideRestsAfterALongAttempt has each attempt take a minute and fail.
func TestDecideRestsAfterALongAttempt(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.apart()
	c.member("node1").Standing.Return = appliance.WayClone
	var m ha.Memory
	var begun []time.Duration
	for i := range 2000 {
		now := time.Duration(i) * tick
		c.s.Held = ""
		if n := len(begun); n > 0 && now-begun[n-1] < time.Minute {
			c.s.Held = "operation 7 (rejoin) runs"
		}
		var acts []ha.Act
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), now)
		if len(acts) > 0 && acts[0].Withheld == "" {
			begun = append(begun, now)
		}
	}
	if len(begun) < 4 || begun[3]-begun[2] < 2*time.Minute-2*tick {
		t.Errorf("attempts of a minute began at %v", begun)
	}
}

// TestDecideWithoutAStandby has the last standby leave a promise.
func TestDecideWithoutAStandby(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		degrades bool
		deed     ha.Deed
	}{{"writes wait", false, ""}, {"the promise ends", true, ha.Degrade}} {
		c := newScene()
		c.s.Degrades = tt.degrades
		c.member("node0").Streams, c.member("node0").Connected = nil, []string{"node1", "node2"}
		c.decides(t, tt.deed, map[bool]time.Duration{true: 3 * time.Second}[tt.degrades], map[bool]string{true: "no standby streams"}[tt.degrades])
		if !tt.degrades {
			continue
		}
		c.s.Known.Promise, c.member("node0").Streams = appliance.Promise{}, []string{"node1"}
		c.decides(t, ha.Settle, tick, "promised")
	}
}

// decides has the scene last for 15 s.
func (c *scene) decides(t *testing.T, deed ha.Deed, at time.Duration, says string) {
	t.Helper()
	after, act, last := c.acts(30, nil)
	if act.Deed != deed || after != at {
		t.Fatalf("got %q after %s, want %q after %s: %+v", act.Deed, after, deed, at, last)
	}
	said := act.Evidence
	for _, a := range last {
		said += a.Evidence + a.Withheld
	}
	if !strings.Contains(said, says) {
		t.Errorf("it says %q, want %q", said, says)
	}
}
