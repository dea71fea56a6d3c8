//go:build integration

package cli_test

import (
	"strings"
	"testing"
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
