//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// fillUp leaves that many bytes in the file system of the directory, and returns the file
// that takes the rest.
func (b *box) fillUp(dir string, leave int64) (filler string) {
	b.t.Helper()
	filler = filepath.Join(dir, "filler")
	var st unix.Statfs_t
	b.must(unix.Statfs(dir, &st))
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	b.must(err)
	chunk := make([]byte, 1<<20)
	for n := int64(st.Bavail)*st.Bsize - leave; n > 0; n -= int64(len(chunk)) {
		if _, err := f.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
			break
		}
	}
	b.must(f.Close())
	return filler
}

// TestAutomaticLeavesAFullDiskAlone has no room for WAL on the disk that all members and
// pgapp's state share. Another primary would have no more room: nobody is promoted while the
// disk is full. With room again, all goes on without a person.
func TestAutomaticLeavesAFullDiskAlone(t *testing.T) {
	t.Parallel()
	b, dir := mounted(t, "size=900m,mode=0711")
	b.shareTree()
	b.env = append(b.env, "PGAPP_AUTOMATIC=on")
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	filler := b.fillUp(dir, 1<<20)
	first := b.postmaster("node0")
	b.eventually("the primary has ended, since it could not write WAL", func() bool {
		_, _ = b.superuser("node0", "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000)) FROM generate_series(1, 20)")
		return unix.Kill(first, 0) != nil
	})
	b.stays("node0", 5*time.Second, "the disk is full")
	if said := b.run("ps").err; !strings.Contains(said, "would replace node0") || !strings.Contains(said, "is full: make room") {
		t.Errorf("ps doesn't say why nothing is done:\n%s", said)
	}
	b.must(os.Remove(filler))
	freed := time.Now()
	b.eventually("all members serve", func() bool {
		s := b.ps()
		for _, m := range s.Members {
			if m.Name == s.Primary && m.State != appliance.StateRunning || m.Name != s.Primary && m.State != appliance.StateStreaming {
				return false
			}
		}
		return true
	}, b.state)
	t.Logf("all members serve %s after there is room", time.Since(freed).Round(100*time.Millisecond))
	if o := b.begun(appliance.OpFailover); len(o) > 1 {
		t.Errorf("the failovers are %v, want one at most", reasons(o))
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestAutomaticReplacesAPrimaryThatHasLostItsFiles takes the primary's tables away under it.
// Its sessions go on, with the files that they have open, and nobody else gets in.
func TestAutomaticReplacesAPrimaryThatHasLostItsFiles(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	lost := filepath.Join(filepath.Dir(b.home), "lost")
	t.Cleanup(func() { _ = os.RemoveAll(lost) })
	b.must(os.Rename(filepath.Join(b.dataDir("node0"), "base"), lost))
	b.replaced("node0")
	if o := b.begun(appliance.OpFailover); len(o) != 1 || !strings.Contains(o[0].Params.Reason, "node0 has lost its files") {
		t.Errorf("the failovers are %v, want one that says that node0 has lost its files", reasons(o))
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestAutomaticGoesOnWhereAStandbyHasNoRoomForWAL fills the disk of one standby's WAL, which
// is its own. Commits go on with the other standby, and with room again it comes back.
func TestAutomaticGoesOnWhereAStandbyHasNoRoomForWAL(t *testing.T) {
	t.Parallel()
	if !isolated() {
		t.Skip("SKIPPED: mounting needs root and namespaces")
	}
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	b.ok("stop", "node2")
	wal := filepath.Join(b.dataDir("node2"), "pg_wal")
	b.mountOver(wal, "tmpfs", "size=96m,mode=0700")
	b.ok("start", "node2")
	b.promises("node1", "node2")
	filler := b.fillUp(wal, 1<<20)
	full := time.Now()
	_, err := b.superuser("node0", "SELECT pg_switch_wal()")
	b.must(err)
	b.eventually("node2 streams no more", func() bool { return b.ps().Members[2].State != appliance.StateStreaming })
	b.promises("node1")
	t.Logf("node1 alone is promised %s after the disk was full", time.Since(full).Round(100*time.Millisecond))
	b.moreWritten(run)
	b.stays("node0", 5*time.Second, "a standby's disk is full")
	t.Logf("ps: %s", b.run("ps").out+b.run("ps").err)
	b.must(os.Remove(filler))
	freed := time.Now()
	b.promises("node1", "node2")
	t.Logf("both are promised again %s after there is room", time.Since(freed).Round(100*time.Millisecond))
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}
