//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// TestWritersMadeByHandAreEnded has a person promote a standby, start an old primary as
// one, and promote a standby where the recorded primary is dead. Their own writes don't
// wait for a standby.
func TestWritersMadeByHandAreEnded(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	b.rows("CREATE TABLE strays (n int)")
	run := b.writing()

	t.Log("a standby that is promoted beside the primary")
	b.ok("pause")
	b.pgCtl("node1", "promote")
	b.writesAstray("node1")
	b.ok("resume")
	b.endedBeside("node0", "node1")

	t.Log("an old primary that is started as one")
	b.ok("switchover", "--to", "node1")
	b.moreWritten(run)
	b.ok("stop", "node0")
	b.must(os.Remove(filepath.Join(b.dataDir("node0"), "standby.signal")))
	b.ok("pause")
	b.pgCtl("node0", "start", "-l", "/dev/null")
	b.writesAstray("node0")
	b.ok("resume")
	b.ok("start")
	b.endedBeside("node1", "node0")
	b.moreWritten(run)
	b.kept(run)
	b.verified()

	t.Log("a standby that is promoted and is alone")
	b.ok("pause")
	b.killServer("node1")
	b.pgCtl("node2", "promote")
	b.writesAstray("node2")
	for _, args := range [][]string{{"start"}, {"failover", "--yes"}} {
		if r := b.want(appliance.ExitConflict, args...); !strings.Contains(r.err, "pgapp adopt") {
			t.Errorf("%q doesn't name pgapp adopt: %s", args, r.err)
		}
	}
	if a := b.adopt(); a.Primary != "node2" || a.Was != "node1" {
		t.Errorf("adopted: %+v", a)
	}
	b.ok("rejoin")
	b.ok("resume")
	b.eventually("the cluster is whole", func() bool { return len(drill.Whole(b.ps())) == 0 })
	if n := b.rows("SELECT count(*) FROM strays"); n != "1" {
		t.Errorf("the adopted primary has %s of the rows written alone, want 1", n)
	}
	b.verified()
}

// writesAstray writes a row on the member, which is no standby any more.
func (b *box) writesAstray(member string) {
	b.t.Helper()
	b.eventually(member+" takes writes", func() bool {
		_, err := b.superuserOf(member, b.ps().Database, "SET synchronous_commit = local; INSERT INTO strays VALUES (1)")
		return err == nil
	})
}

// endedBeside waits until the stray has been ended, and streams without its own writes.
func (b *box) endedBeside(primary, stray string) {
	b.t.Helper()
	b.eventually(stray+" streams from "+primary, func() bool {
		s := b.ps()
		return s.Primary == primary && s.Operation == "" && len(drill.Whole(s)) == 0
	})
	if n := b.rows("SELECT count(*) FROM strays", stray); n != "0" {
		b.t.Errorf("%s still has %s rows of its own", stray, n)
	}
	if o := b.begun(appliance.OpFailover); len(o) > 0 {
		b.t.Errorf("there were failovers: %q", reasons(o))
	}
	if !slices.ContainsFunc(b.begun(appliance.OpRejoin), func(o appliance.Operation) bool { return o.Params.Member == stray }) {
		b.t.Errorf("pgapp has not brought %s back by itself", stray)
	}
}
