//go:build integration

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestPauseKeepsADeadPrimary kills the primary of a paused cluster: nothing is done, and
// ps says what would be done and why not. Resume replaces it.
func TestPauseKeepsADeadPrimary(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2")
	before := b.ps()
	if before.Automatic != appliance.AutomaticOn || before.Pause != nil {
		t.Errorf("a new cluster is %s, %+v", before.Automatic, before.Pause)
	}
	b.ok("pause", "--for", "1h")
	var a appliance.Automation
	b.must(json.Unmarshal([]byte(b.ok("pause", "--for", "2h", "-o", "json").out), &a))
	if a.Automatic != appliance.AutomaticPaused || a.Pause == nil || a.Pause.Until == nil {
		t.Errorf("pause -o json: %+v", a)
	}
	b.killServer("node0")
	b.eventually("ps says what would be done", func() bool {
		d := b.ps().Doubts
		return len(d) == 1 && d[0].Deed == "replace" && strings.Contains(d[0].Evidence, "node0 died") && strings.Contains(d[0].Withheld, "a user has paused it until")
	})
	r := b.run("ps")
	for _, want := range []string{"automatic: paused until ", "pgapp would replace node0: node0 died", "not done: a user has paused it until"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("ps leaves out %q:\n%s", want, r.err)
		}
	}
	if r.code != appliance.ExitDegraded {
		t.Errorf("ps: exit code %d", r.code)
	}
	s := b.ps()
	if s.Primary != "node0" || memberOf(s, "node0").State != appliance.StateStopped || s.Revision != before.Revision || s.Epoch != 1 {
		t.Errorf("the paused cluster changed: primary %s, revision %d of %d, epoch %d, %+v", s.Primary, s.Revision, before.Revision, s.Epoch, s.Members)
	}
	b.ok("resume")
	b.ok("resume")
	now := b.replaced("node0")
	if s := b.ps(); s.Automatic != appliance.AutomaticOn || s.Pause != nil {
		t.Errorf("after resume: %s, %+v", s.Automatic, s.Pause)
	}
	b.eventually("no doubt is left", func() bool { return len(b.ps().Doubts) == 0 })
	b.led(now)
	b.tellsReplacement("node0", now)
	b.ok("up", "--automatic", "off")
	for _, command := range []string{"pause", "resume"} {
		if r := b.want(appliance.ExitConflict, command); !strings.Contains(r.err, "pgapp up --cluster main --automatic on") {
			t.Errorf("%s of a cluster that is off: %s", command, r.err)
		}
	}
	if s := b.ps(); s.Automatic != appliance.AutomaticOff {
		t.Errorf("automatic off, and ps shows %s", s.Automatic)
	}
	b.verified()
}

// tellsReplacement wants ops and ps to tell how pgapp replaced the primary by itself.
func (b *box) tellsReplacement(old, now string) {
	b.t.Helper()
	o := b.begun(appliance.OpFailover)[0]
	r := b.ok("ops", o.ID)
	text := r.err + r.out
	for _, want := range []string{
		"(failover) of cluster main: succeeded", " by pgapp, took ", "reason: " + old + " died", now + " took over: ", "looking ", "closing ", "opening ", "fencing ", "electing ", "promoting ",
		"wait until the others stream", "drops ",
	} {
		if !strings.Contains(text, want) {
			b.t.Errorf("ops %s leaves out %q:\n%s", o.ID, want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines > 11 {
		b.t.Errorf("ops %s takes %d lines:\n%s", o.ID, lines, text)
	}
	for line := range strings.Lines(b.ok("ops").out) {
		by := " user "
		switch {
		case strings.HasPrefix(line, "ID"), strings.Contains(line, " rejoin "): // pgapp settles by itself what a failover left
			continue
		case strings.HasPrefix(line, o.ID):
			by = " pgapp "
		}
		if !strings.Contains(line, by) {
			b.t.Errorf("ops doesn't say that it was begun by%s: %s", by, line)
		}
	}
	p := b.ps().Promotions
	if len(p) != 1 || p[0].Member != now || p[0].Reason != "failover" || p[0].Evidence != o.Params.Reason {
		b.t.Errorf("the promotions are %+v, want one of %s with its evidence", p, now)
	}
}
