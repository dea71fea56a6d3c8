//go:build integration

package cli_test

import "testing"

// TestFailoverOfKilledPrimaryKeepsAcknowledgedRows kills the primary while writers
// write. Its directory can be read, so nothing that was acknowledged is lost, even
// without quorum durability.
func TestFailoverOfKilledPrimaryKeepsAcknowledgedRows(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	for range 2 {
		old := b.ps().Primary
		b.killServer(old)
		b.ok("failover", "--yes")
		now := b.ps().Primary
		if now == old {
			t.Fatalf("%s is still the primary", old)
		}
		b.led(now)
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}
