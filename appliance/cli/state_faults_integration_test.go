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

// fillDisk leaves less than a page on the file system of dir, and returns how
// to empty it again.
func fillDisk(b *box, dir string) (empty func()) {
	b.t.Helper()
	filler := filepath.Join(dir, "filler")
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY, 0o600)
	b.must(err)
	for chunk := 1 << 20; chunk >= 512; {
		if n, err := f.Write(make([]byte, chunk)); err != nil || n < chunk {
			chunk /= 2
		}
	}
	b.must(f.Close())
	return func() { b.must(os.Remove(filler)) }
}

// listing is what there is in a directory, hidden files too.
func listing(b *box, dir string) string {
	b.t.Helper()
	entries, err := os.ReadDir(dir)
	b.must(err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

// TestStateOnAFullDisk backs up to a full disk and restores on one: both say
// so, change nothing and leave nothing, and work when there is room again. So
// do the others that need room.
func TestStateOnAFullDisk(t *testing.T) {
	t.Parallel()
	b, dir := mounted(t, "size=24m,mode=0711")
	b.ok("info")
	t.Cleanup(func() {
		kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*"))
		for _, path := range kept {
			b.must(os.Remove(path))
		}
	})
	elsewhere := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", elsewhere)
	there := filepath.Join(dir, "state.tar")
	empty := fillDisk(b, dir)
	before, home := listing(b, dir), listing(b, b.home)
	for _, c := range [][]string{
		{"state", "backup", "--plaintext", there},
		{"state", "restore", "--yes", elsewhere},
		{"state", "compact"},
		{"state", "check"},
	} {
		r := b.run(c...)
		says := strings.Contains(r.err, "error[host-no-space]") || strings.Contains(r.err, "error[store-full]")
		if r.code != appliance.ExitHost || !says || !strings.Contains(r.err, "→") {
			t.Errorf("%q on a full disk: exit code %d\n%s", c, r.code, r.err)
		}
		if after := listing(b, dir); after != before {
			t.Errorf("%q left %s, was %s", c, after, before)
		}
		b.ok("info") // a daemon that closed its state opens its socket again
		if after := listing(b, b.home); after != home {
			t.Errorf("%q left %s in the home, was %s", c, after, home)
		}
	}
	if m := b.mode(); m != "normal" {
		t.Errorf("the daemon is %s", m)
	}
	// A daemon that has to begin on the full disk does, or says why it can't.
	b.ok("shutdown")
	if r := b.run("info"); r.code != 0 && (r.code != appliance.ExitHost || !strings.Contains(r.err, "error[")) {
		t.Errorf("a start on a full disk: exit code %d\n%s", r.code, r.err)
	}
	empty()
	b.ok("state", "check")
	b.ok("state", "backup", "--plaintext", there)
	b.ok("state", "verify", there)
	b.ok("state", "restore", "--yes", there)
	b.must(os.Remove(there))
	b.ok("state", "check")
}

// TestKilledBackups kills the daemon while it backs up its state, and the
// client while it writes the file: that is there whole or not at all, and the
// state is as it was.
func TestKilledBackups(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.ok("info")
	dir := t.TempDir()
	secret := filepath.Join(dir, "passphrase")
	b.must(os.WriteFile(secret, []byte("correct horse\n"), 0o600))
	const rounds = 9
	whole := 0
	for i := range rounds {
		file := filepath.Join(dir, "state.tar.age")
		b.ok("info")
		pid := b.pid()
		cmd, wait := b.background("state", "backup", "--passphrase-file", secret, file)
		// Sealing by a passphrase takes most of the time.
		time.Sleep(time.Duration(i*i) * 15 * time.Millisecond)
		if i%3 == 2 {
			pid = cmd.Process.Pid
		}
		_ = unix.Kill(pid, unix.SIGKILL) // may have ended
		r := wait()
		if _, err := os.Lstat(file); err != nil {
			if r.code == 0 {
				t.Errorf("kill %d: the backup succeeded, but is not there", i)
			}
			continue
		}
		whole++
		b.ok("state", "verify", "--passphrase-file", secret, file)
		b.must(os.Remove(file))
	}
	t.Logf("killed %d times: %d backups were whole", rounds, whole)
	if whole == rounds {
		t.Error("no kill came before the backup was there")
	}
	b.ok("state", "check")
	if m := b.mode(); m != "normal" {
		t.Errorf("the daemon is %s", m)
	}
}

// TestRepeatedStateRequests sends each change of the state twice, as a client
// does that lost the answer: these need no Idempotency-Key, since the second
// does no harm.
func TestRepeatedStateRequests(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	t.Cleanup(func() {
		kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*"))
		for _, path := range kept {
			b.must(os.Remove(path))
		}
	})
	b.up("--standbys", "1")
	file := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", file)
	b.ok("state", "compact")
	b.ok("state", "compact")
	b.ok("state", "restore", "--yes", file)
	b.ok("state", "restore", "--yes", file)
	observing(t, b)
	first, second := b.adopt(), b.adopt()
	if first.Primary != "node0" || second.Primary != "node0" || first.Epoch != second.Epoch {
		t.Errorf("adopted as %+v, and again as %+v", first, second)
	}
	if out := b.ok("ops").out; strings.Count(out, "adopt") != 1 {
		t.Errorf("the journal has not one adoption:\n%s", out)
	}
	// The request that comes late, after the cluster was adopted, is refused.
	b.want(appliance.ExitConflict, "state", "restore", "--yes", file)
	if m := b.mode(); m != "normal" {
		t.Errorf("the daemon is %s", m)
	}
	b.verified()
}
