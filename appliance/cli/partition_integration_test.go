//go:build integration

package cli_test

import (
	"context"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// TestQuorumCommitWaitsWhereLinkIsCutOneWay cuts first what the primary sends to the
// standbys, then what they send to it. Neither way is a commit acknowledged.
func TestQuorumCommitWaitsWhereLinkIsCutOneWay(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	b.rows("CREATE TABLE awaited (n int)")
	standbys := []string{"node1", "node2"}
	for n, lost := range []func(standby string){
		func(s string) { b.cutOneWay("node0", s) },
		func(s string) { b.cutOneWay(s, "node0") },
	} {
		b.led("node0")
		b.promised(1, standbys...)
		c, warnings, err := b.application()
		b.must(err)
		for _, s := range standbys {
			lost(s)
		}
		insert := b.insert(c, n)
		b.waitsForStandby("node0")
		arrives := n == 1
		if arrives {
			b.eventually("the row gets to a standby", func() bool {
				out, err := b.superuserOf("node1", "pagila", "SELECT count(*) FROM awaited WHERE n = 1")
				return err == nil && strings.TrimSpace(out) == "1"
			})
		} else if out, err := b.superuserOf("node1", "pagila", "SELECT count(*) FROM awaited"); err != nil || strings.TrimSpace(out) != "0" {
			t.Errorf("a standby has %s rows, want 0 (%v)", out, err)
		}
		select {
		case err := <-insert:
			t.Errorf("a commit was acknowledged though no standby's answer got through: %v", err)
		default:
		}
		b.heal()
		b.ended(insert)
		if len(warnings) > 0 {
			t.Errorf("the acknowledged commit had warning %s", <-warnings)
		}
	}
	b.led("node0")
	b.verified()
}

// cutOff is a way to cut the primary off, and how it is mended.
type cutOff struct {
	what string
	lost func(b *box, primary string, standbys []string)
}

func cutOffs() []cutOff {
	return []cutOff{
		{"both ways", func(b *box, primary string, standbys []string) {
			for _, s := range standbys {
				b.cut(primary, s)
			}
		}},
		{"what the primary sends", func(b *box, primary string, standbys []string) {
			for _, s := range standbys {
				b.cutOneWay(primary, s)
			}
		}},
		{"what the standbys send", func(b *box, primary string, standbys []string) {
			for _, s := range standbys {
				b.cutOneWay(s, primary)
			}
		}},
	}
}

// standbys are the box's members without the primary.
func (b *box) standbys() (primary string, standbys []string) {
	b.t.Helper()
	s := b.ps()
	for _, m := range s.Members {
		if m.Name != s.Primary {
			standbys = append(standbys, m.Name)
		}
	}
	return s.Primary, standbys
}

// replacedWhileCut has a failover replace a primary that lives and is cut off, mends the
// links once the new primary serves, and wants the failover to bring the old one back.
func (b *box) replacedWhileCut(run *drill.Run, old string) {
	b.t.Helper()
	_, wait := b.background("failover", "--yes")
	var now string
	b.eventually("another member is the primary", func() bool {
		now = b.ps().Primary
		return now != old
	})
	b.moreWritten(run)
	b.heal()
	if r := wait(); r.code != 0 {
		b.t.Fatalf("the failover from %s: exit code %d\n%s%s", old, r.code, r.err, b.log())
	}
	b.led(now)
	b.moreWritten(run)
}

// TestFailoverOfPrimaryCutFromStandbysLosesNothing cuts the primary from all standbys, but
// neither from the daemon nor from the application. Its commits wait, a switchover finds
// no candidate, and a failover kills it before another is promoted.
func TestFailoverOfPrimaryCutFromStandbysLosesNothing(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	for _, how := range cutOffs() {
		old, standbys := b.standbys()
		b.promised(1, standbys...)
		how.lost(b, old, standbys)
		b.eventually("writers wait for standbys, cut: "+how.what, func() bool {
			out, err := b.superuser(old, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep'")
			return err == nil && strings.TrimSpace(out) != "0"
		})
		code, _ := appliance.ErrNoCandidate.Codes()
		if r := b.want(code, "switchover"); !strings.Contains(r.err, "error["+string(appliance.ErrNoCandidate)+"]") {
			t.Errorf("the switchover's refusal, cut %s: %s", how.what, r.err)
		}
		if now := b.ps().Primary; now != old {
			t.Fatalf("the switchover that was refused made %s the primary", now)
		}
		b.replacedWhileCut(run, old)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestFailoverOfAsyncPrimaryCutFromStandbys cuts the primary from all standbys, under
// durability async: its commits don't wait. It is replaced only by who accepts their loss;
// on one host nothing is lost.
func TestFailoverOfAsyncPrimaryCutFromStandbys(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	run := b.writing()
	b.cut("node0", "node1")
	b.moreWritten(run)
	b.turnedDown(appliance.ErrConflict, []string{"failover", "--yes"}, "no standby receives them", "pgapp failover --allow-data-loss")
	b.turnedDown(appliance.ErrNoCandidate, []string{"switchover"}, "node1")
	b.moreWritten(run)
	_, wait := b.background("failover", "--allow-data-loss", "--yes")
	b.eventually("node1 is the primary", func() bool { return b.ps().Primary == "node1" })
	b.heal()
	if r := wait(); r.code != 0 {
		t.Errorf("the failover: exit code %d\n%s", r.code, r.err)
	}
	b.led("node1")
	b.moreWritten(run)
	conflict, _ := appliance.ErrConflict.Codes()
	if r := b.want(conflict, "failover", "--allow-data-loss", "--yes"); !strings.Contains(r.err, "pgapp switchover") {
		t.Errorf("the refusal to replace a primary that works names no switchover: %s", r.err)
	}
	b.kept(run)
	b.verified()
}

// TestFailoverOfPrimaryCutFromDaemon cuts the primary from the daemon alone: the standbys
// stream, and the application writes. The failover kills the primary before another is
// promoted.
func TestFailoverOfPrimaryCutFromDaemon(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.cut(theDaemon, "node0")
	b.moreWritten(run)
	b.eventually("the daemon has lost the primary", func() bool {
		for _, m := range b.ps().Members {
			if m.Name == "node0" {
				return m.State == appliance.StateUnreachable
			}
		}
		return false
	})
	b.replacedWhileCut(run, "node0")
	b.kept(run)
	b.verified()
}

// TestFailoverElectsStandbyThatKeptUp cuts one standby from the primary. Commits go on
// with the other, which alone has them when the primary is killed.
func TestFailoverElectsStandbyThatKeptUp(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.cut("node0", "node1")
	b.moreWritten(run)
	conflict, _ := appliance.ErrConflict.Codes()
	if r := b.want(conflict, "failover", "--yes"); !strings.Contains(r.err, "switchover") {
		t.Errorf("the refusal to replace a primary that works names no switchover: %s", r.err)
	}
	b.moreWritten(run)
	b.cut(theDaemon, "node2")
	b.killServer("node0")
	lost, _ := appliance.ErrQuorumLost.Codes()
	if r := b.want(lost, "failover", "--yes"); !strings.Contains(r.err, "node2") {
		t.Errorf("the refusal doesn't name the standby that the daemon can't reach: %s", r.err)
	}
	b.heal()
	b.ok("failover", "--yes")
	b.led("node2")
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}

// TestSwitchoverDoesNotWaitForAnotherStandbyThatIsCut cuts a standby that is not the
// candidate. A primary that stops waits for each standby's answer.
func TestSwitchoverDoesNotWaitForAnotherStandbyThatIsCut(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	for _, how := range cutOffs() {
		old, standbys := b.standbys()
		how.lost(b, old, standbys[1:])
		b.moreWritten(run)
		b.ok("switchover", "--to", standbys[0])
		b.heal()
		b.ok("up")
		b.led(standbys[0])
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
}

// TestNewPrimaryThatIsCutFromTheOtherStandby cuts the two standbys from each other. The
// failover promotes one, which the old primary follows: commits go on while the operation
// still waits for the other.
func TestNewPrimaryThatIsCutFromTheOtherStandby(t *testing.T) {
	t.Parallel()
	b := newLinkedBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.cut("node1", "node2")
	b.killServer("node0")
	failover := b.command(context.WithoutCancel(t.Context()), "failover", "--to", "node1", "--yes")
	b.must(failover.Start())
	b.eventually("node1 is the primary", func() bool { return b.ps().Primary == "node1" })
	b.moreWritten(run)
	if s := b.ps(); s.Operation == "" || memberOf(s, "node2").State == appliance.StateStreaming {
		t.Errorf("commits went on only when the failover had ended: %+v", s)
	}
	b.heal()
	b.must(failover.Wait())
	b.ok("up", "--durability", "quorum")
	b.led("node1")
	b.promised(1, "node0", "node2")
	b.kept(run)
	b.verified()
}
