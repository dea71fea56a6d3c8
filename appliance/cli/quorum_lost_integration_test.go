//go:build integration

package cli_test

import (
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestFailoverUnderQuorumNeedsEachStandbyThatMayHaveTheCommit kills the primary and one of
// two standbys. The dead standby alone may have confirmed a commit, so the other is
// promoted only once the dead one is back.
func TestFailoverUnderQuorumNeedsEachStandbyThatMayHaveTheCommit(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	run := b.writing()
	b.killServer("node0")
	b.killServer("node1")
	code, _ := appliance.ErrQuorumLost.Codes()
	if r := b.want(code, "failover", "--yes"); !strings.Contains(r.err, "error["+string(appliance.ErrQuorumLost)+"]") || !strings.Contains(r.err, "node1") {
		t.Fatalf("the refusal doesn't name the standby that is missing: %s", r.err)
	}
	b.ok("start")
	b.led("node0")
	b.promised(1, "node1", "node2")
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}
