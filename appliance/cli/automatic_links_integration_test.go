//go:build integration

package cli_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// newAutomaticLinkedBox makes a box whose links can be cut, and whose clusters pgapp keeps
// by itself.
func newAutomaticLinkedBox(t *testing.T) *box {
	t.Helper()
	b := newLinkedBox(t).shareTree()
	b.env = append(b.env, "PGAPP_AUTOMATIC=on")
	return b
}

// stays wants the member to stay the primary for that time, and no failover to begin.
func (b *box) stays(primary string, d time.Duration, what string) {
	b.t.Helper()
	before := len(b.begun(appliance.OpFailover))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if now := b.ps().Primary; now != primary {
			b.t.Fatalf("%s: %s is the primary, want %s", what, now, primary)
		}
	}
	if o := b.begun(appliance.OpFailover); len(o) != before {
		b.t.Fatalf("%s: a failover began: %s", what, o[0].Params.Reason)
	}
}

// TestAutomaticReplacesAPrimaryThatNobodyHears cuts the primary from the daemon and from
// all standbys, but not from the application. It lives, and its commits wait.
func TestAutomaticReplacesAPrimaryThatNobodyHears(t *testing.T) {
	t.Parallel()
	b := newAutomaticLinkedBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	for _, other := range []string{"node1", "node2", theDaemon} {
		b.cut("node0", other)
	}
	b.eventually("another member is the primary", func() bool { return b.ps().Primary != "node0" })
	b.moreWritten(run)
	b.heal()
	b.replaced("node0")
	if o := b.begun(appliance.OpFailover); len(o) != 1 || !strings.Contains(o[0].Params.Reason, "node0 is silent") {
		t.Errorf("the failovers are %+v, want one that says that node0 is silent", o)
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestAutomaticLeavesAPrimaryThatSomebodyHears cuts the primary from the daemon alone,
// then from the standbys alone. One signal is not enough for a failover.
func TestAutomaticLeavesAPrimaryThatSomebodyHears(t *testing.T) {
	t.Parallel()
	b := newAutomaticLinkedBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	const long = 9 * time.Second // a silence that two signals show is acted on after 6 s
	b.cut(theDaemon, "node0")
	b.stays("node0", long, "cut from the daemon")
	b.moreWritten(run)
	b.heal()
	b.led("node0")
	for _, how := range cutOffs() {
		how.lost(b, "node0", []string{"node1", "node2"})
		b.stays("node0", long, "cut from the standbys, "+how.what)
		b.heal()
		b.led("node0")
		b.moreWritten(run)
	}
	b.kept(run)
	last := b.run("verify") // the promise may not be over both standbys yet
	for end := time.Now().Add(commandTimeout); last.code != 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		last = b.run("verify")
	}
	if last.code != 0 {
		t.Fatalf("verify: %s%s, ps: %+v", last.out, last.err, b.ps())
	}
	b.verified()
}

// TestAutomaticOutlastsAFlappingLink cuts the primary from all others for 2 s, again and
// again.
func TestAutomaticOutlastsAFlappingLink(t *testing.T) {
	t.Parallel()
	b := newAutomaticLinkedBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	const rounds, half = 8, 2 * time.Second
	for range rounds {
		for _, other := range []string{"node1", "node2", theDaemon} {
			b.cut("node0", other)
		}
		time.Sleep(half)
		b.heal()
		time.Sleep(half)
	}
	now := ""
	b.eventually("all stream", func() bool {
		s := b.ps()
		now = s.Primary
		return s.Operation == "" && s.Phase == appliance.PhaseReady
	})
	b.led(now)
	b.moreWritten(run)
	if o := b.begun(appliance.OpFailover); len(o) > 1 {
		t.Errorf("%d failovers, want one at most: %+v", len(o), o)
	}
	b.kept(run)
	b.verified()
}

// promises waits until ps shows a promise over the members.
func (b *box) promises(set ...string) {
	b.t.Helper()
	want := appliance.Promise{K: 1, Set: set}
	b.eventually("promised is "+want.String(), func() bool { s := b.ps(); return s.Promise != nil && s.Promise.Equal(want) })
}

// TestAutomaticPromiseFollowsAStandbyThatIsCut cuts one standby from the primary: the
// promise goes on with the other, and commits don't wait.
func TestAutomaticPromiseFollowsAStandbyThatIsCut(t *testing.T) {
	t.Parallel()
	b := newAutomaticLinkedBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.cut("node0", "node1")
	b.moreWritten(run)
	b.promises("node2")
	b.moreWritten(run)
	b.heal()
	b.promises("node1", "node2")
	b.led("node0")
	if o := b.begun(appliance.OpFailover); len(o) > 0 {
		t.Errorf("a failover began: %s", o[0].Params.Reason)
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}

// TestAutomaticStartsThePrimaryAgainWhereAStandbyIsOutOfReach cuts a standby from the daemon
// alone: it streams, so nothing is done. The killed primary is then started again, since
// the standby that the daemon can't ask may alone have a commit.
func TestAutomaticStartsThePrimaryAgainWhereAStandbyIsOutOfReach(t *testing.T) {
	t.Parallel()
	b := newAutomaticLinkedBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.cut(theDaemon, "node1")
	b.stays("node0", 5*time.Second, "a standby is cut from the daemon")
	b.promises("node1", "node2")
	b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGKILL))
	var starts []appliance.Operation
	b.eventually("the daemon starts the primary again", func() bool {
		starts = b.begun(appliance.OpStart)
		return len(starts) > 0
	})
	if why := starts[len(starts)-1].Params.Reason; !strings.Contains(why, string(appliance.ErrQuorumLost)) {
		t.Errorf("the first start doesn't say why nobody was promoted: %s", why)
	}
	b.moreWritten(run)
	b.heal()
	b.led("node0")
	b.promises("node1", "node2")
	b.kept(run)
	b.verified()
}
