//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFailoverTakesWALBesideALostMarker removes the marker by which pgapp knows the dead
// primary's directory. pgapp runs nothing there any more, but the WAL in it is readable.
func TestFailoverTakesWALBesideALostMarker(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	b.rows("CREATE TABLE late (n int)")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	b.rows("INSERT INTO late VALUES (7)")
	b.killServer("node0")
	b.dropReceiver("node1")
	b.dropReceiver("node2")
	marker := filepath.Join(filepath.Dir(b.dataDir("node0")), ".pgapp")
	kept, err := os.ReadFile(marker)
	b.must(err)
	b.must(os.Remove(marker))
	r := b.run("failover", "--yes")
	t.Logf("exit code %d\n%s%s", r.code, r.out, r.err)
	primary := b.ps().Primary
	if primary == "node0" {
		t.Fatal("nobody was promoted")
	}
	if n := b.rows("SELECT count(*) FROM late", primary); n != "1" {
		t.Errorf("the new primary has %s rows, want 1", n)
	}
	b.must(os.WriteFile(marker, kept, 0o600))
}
