//go:build integration

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// mountOver puts a file system in the place of the directory, with its content and owner.
// With "ext4" the file system has a disk of 256 MiB of its own.
func (b *box) mountOver(dir, kind, options string) {
	b.t.Helper()
	if !isolated() {
		b.t.Skip("SKIPPED: mounting needs root and namespaces")
	}
	run := func(name string, args ...string) {
		b.t.Helper()
		if out, err := exec.CommandContext(b.t.Context(), name, args...).CombinedOutput(); err != nil {
			b.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	kept, disk := filepath.Join(filepath.Dir(b.home), "kept"), kind
	run("cp", "-a", dir, kept)
	if kind == "ext4" {
		disk = filepath.Join(filepath.Dir(b.home), "disk")
		b.must(os.WriteFile(disk, nil, 0o600))
		b.must(os.Truncate(disk, 256<<20))
		run("mkfs.ext4", "-q", disk)
		options = "loop"
	}
	run("mount", "-t", kind, "-o", options, disk, dir)
	b.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			b.t.Error(err)
		}
	})
	run("cp", "-a", kept+"/.", dir)
	if kind == "ext4" {
		b.must(os.Remove(filepath.Join(dir, "lost+found")))
	}
}

// freezes stops all writing to the file system of the directory, whose writers nothing can
// end then, as fsfreeze(8) does.
func (b *box) freezes(dir string) (thaw func()) {
	b.t.Helper()
	f, err := os.Open(dir)
	b.must(err)
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878 // linux/fs.h
	b.must(unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0))
	thawed := false
	thaw = func() {
		if thawed {
			return
		}
		thawed = true
		if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil {
			b.t.Error(err)
		}
		_ = f.Close()
	}
	b.t.Cleanup(thaw)
	return thaw
}

// TestAutomaticWaitsForAPrimaryThatCannotBeEnded stalls the disk of the primary's WAL so that
// its processes don't even end when they are killed. Nobody is promoted while they are there.
func TestAutomaticWaitsForAPrimaryThatCannotBeEnded(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	b.ok("stop")
	b.mountOver(filepath.Join(b.dataDir("node0"), "pg_wal"), "ext4", "")
	b.ok("start")
	b.promises("node1", "node2")
	run := b.writing()
	b.moreWritten(run)
	thaw := b.freezes(filepath.Join(b.dataDir("node0"), "pg_wal"))
	frozen := time.Now()
	b.eventually("node0 is being replaced", func() bool { return len(b.begun(appliance.OpFailover)) > 0 })
	t.Logf("the failover begins %s after the stall", time.Since(frozen).Round(100*time.Millisecond))
	b.eventually("ps says which process doesn't end", func() bool { return strings.Contains(b.run("ps").err, "(postgres, state D)") })
	t.Logf("ps says so %s after the stall", time.Since(frozen).Round(100*time.Millisecond))
	b.stays("node0", 3*time.Second, "the primary's processes are there")
	thaw()
	b.replaced("node0")
	if o := b.begun(appliance.OpFailover); len(o) != 1 || !strings.Contains(o[0].Params.Reason, "no write gets to its disk") {
		t.Errorf("the failovers are %v, want one that says that no write gets to node0's disk", reasons(o))
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}
