//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// stateFiles are the files of the home's state.
func (b *box) stateFiles() map[string][]byte {
	b.t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"state.db", "state.id"} {
		data, err := os.ReadFile(filepath.Join(b.home, name))
		b.must(err)
		files[name] = data
	}
	return files
}

// putBack replaces the closed state by an older copy of its files.
func (b *box) putBack(files map[string][]byte) {
	b.t.Helper()
	for name, data := range files {
		b.must(os.WriteFile(filepath.Join(b.home, name), data, 0o600))
	}
}

// TestHomeRolledBackByCopy puts the state from before a change of primary back, by a
// copy that marks nothing: pgapp only observes until the cluster is adopted.
func TestHomeRolledBackByCopy(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	b.ok("shutdown")
	old := b.stateFiles()
	b.ok("switchover", "--to", "node1")
	b.rows("INSERT INTO kept VALUES (8)")
	b.ok("shutdown")
	b.putBack(old)
	onlyObserved(t, b)
	if s := b.ps(); s.Members[1].State != appliance.StateFailed || s.Members[0].State == appliance.StateStopped {
		t.Errorf("the members while pgapp observes: %+v", s.Members)
	}
	if a := b.adopt(); a.Primary != "node1" || a.Was != "node0" || a.Epoch != 3 || a.Timeline != 2 {
		t.Errorf("adopted: %+v", a)
	}
	if mode := b.mode(); mode != "normal" {
		t.Errorf("mode %q after the adoption", mode)
	}
	b.verified()

	// The same with all servers down, as after a reboot: the control files tell.
	b.ok("shutdown")
	old = b.stateFiles()
	b.ok("switchover", "--to", "node2")
	b.rows("INSERT INTO kept VALUES (9)")
	b.ok("shutdown")
	for _, m := range []string{"node2", "node0", "node1"} {
		b.pgCtl(m, "stop", "-m", "fast")
	}
	b.putBack(old)
	onlyObserved(t, b)
	for _, m := range b.ps().Members {
		if m.State != appliance.StateStopped {
			t.Errorf("%s is %s while pgapp observes", m.Name, m.State)
		}
	}
	if a := b.adopt(); a.Primary != "node2" || a.Epoch <= 3 || a.Timeline != 3 {
		t.Errorf("adopted: %+v", a)
	}
	b.ok("start")
	b.verified()
	if got := b.rows("SELECT sum(n) FROM kept"); got != "24" {
		t.Errorf("sum of the rows: %q", got)
	}
	b.ok("switchover", "--to", "node0")
	b.verified()
}

// onlyObserved wants every change refused with a hint to adopt.
func onlyObserved(t *testing.T, b *box) {
	t.Helper()
	if mode := b.mode(); mode != "observing" {
		t.Errorf("mode %q with the old state", mode)
	}
	for _, args := range [][]string{{"switchover"}, {"failover", "--yes"}, {"start"}, {"stop"}, {"restart"}, {"up", "--provider", "local"}} {
		r := b.want(appliance.ExitConflict, args...)
		if !strings.Contains(r.err, "pgapp only observes") || !strings.Contains(r.err, "pgapp adopt") {
			t.Errorf("%q: %s", args, r.err)
		}
	}
}
