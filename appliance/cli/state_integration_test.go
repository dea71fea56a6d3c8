//go:build integration

package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/store/archive"
)

// mode is the daemon's.
func (b *box) mode() string {
	b.t.Helper()
	var i appliance.Info
	b.must(json.Unmarshal([]byte(b.ok("info", "-o", "json").out), &i))
	return i.Mode
}

// unpacked is what of a restore lies in the home.
func (b *box) unpacked() []string {
	found, _ := filepath.Glob(filepath.Join(b.home, ".*restore*"))
	return found
}

// adopt takes over the box's cluster.
func (b *box) adopt() appliance.Adoption {
	b.t.Helper()
	var a appliance.Adoption
	b.must(json.Unmarshal([]byte(b.ok("adopt", "-o", "json").out), &a))
	return a
}

// pgCtl runs pg_ctl as the owner of the member's data.
func (b *box) pgCtl(member string, args ...string) {
	b.t.Helper()
	dir := filepath.Join(b.home, "clusters", "main", member, "data")
	argv := append([]string{filepath.Join(pgbin(b.t), "pg_ctl"), "-w", "-D", dir}, args...)
	if os.Geteuid() == 0 {
		owner, err := exec.CommandContext(b.t.Context(), "stat", "-c", "%U", dir).Output()
		b.must(err)
		argv = append([]string{"runuser", "-u", strings.TrimSpace(string(owner)), "--"}, argv...)
	}
	cmd := b.tool(argv...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// damage breaks the pages of the closed database.
func (b *box) damage() {
	b.t.Helper()
	b.ok("shutdown")
	f, err := os.OpenFile(filepath.Join(b.home, "state.db"), os.O_RDWR, 0)
	b.must(err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 8000), 0)
	b.must(err)
	b.must(f.Close())
}

// TestStateOfALivingCluster leads the state of one cluster through what can
// befall it; the cluster runs on all the time.
func TestStateOfALivingCluster(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	t.Cleanup(func() {
		kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*"))
		for _, path := range kept {
			b.must(os.Remove(path))
		}
	})
	status := b.up("--standbys", "1")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	saved := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", saved)

	t.Run("automatic", func(t *testing.T) { automaticBackup(t, b) })
	t.Run("round trip", func(t *testing.T) { roundTrip(t, b) })
	t.Run("tools", func(t *testing.T) { plainTools(t, saved) })
	t.Run("hostile", func(t *testing.T) { hostileRestores(t, b, saved) })
	t.Run("kill", func(t *testing.T) { killedRestores(t, b) })
	t.Run("damaged", func(t *testing.T) { damagedState(t, b) })
	t.Run("lost", func(t *testing.T) { lostState(t, b) })
	t.Run("promoted", func(t *testing.T) { promotedByHand(t, b, status) })
}

func automaticBackup(t *testing.T, b *box) {
	var list []struct {
		Path string `json:"path"`
	}
	for end := time.Now().Add(commandTimeout); len(list) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		b.must(json.Unmarshal([]byte(b.ok("state", "list", "-o", "json").out), &list))
	}
	if len(list) == 0 {
		t.Fatal("no automatic backup was made")
	}
	b.ok("state", "verify", list[0].Path)
	key := filepath.Join(t.TempDir(), "key")
	b.must(os.WriteFile(key, []byte(b.ok("state", "key").out), 0o600))
	b.ok("state", "verify", "--identity-file", key, list[0].Path)
	for _, name := range []string{"backup.key", "backups"} {
		st, err := os.Stat(filepath.Join(b.home, name))
		b.must(err)
		if st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
	}
	b.ok("state", "check")
	b.ok("state", "compact")
	b.ok("state", "check")
	b.verified()
}

// roundTrip seals by a passphrase, restores, and takes the cluster over again.
func roundTrip(t *testing.T, b *box) {
	dir := t.TempDir()
	pass, wrong, file := filepath.Join(dir, "pass"), filepath.Join(dir, "wrong"), filepath.Join(dir, "state.tar.age")
	b.must(os.WriteFile(pass, []byte("a canary in a mine\n"), 0o600))
	b.must(os.WriteFile(wrong, []byte("another\n"), 0o600))
	b.ok("state", "backup", "--passphrase-file", pass, file)
	b.ok("state", "verify", "--passphrase-file", pass, file)
	b.want(appliance.ExitUnauthorised, "state", "restore", "--yes", "--passphrase-file", wrong, file)
	if m := b.mode(); m != "normal" {
		t.Fatalf("after a refused restore the daemon is %s", m)
	}
	b.want(appliance.ExitDeclined, "state", "restore", "--passphrase-file", pass, file)
	b.ok("state", "restore", "--yes", "--passphrase-file", pass, file)
	observing(t, b)
	if a := b.adopt(); a.Primary != "node0" || a.Epoch != 2 {
		t.Errorf("adopted: %+v", a)
	}
	b.verified()
	if n := b.rows("SELECT n FROM kept"); n != "7" {
		t.Errorf("what was written is %q", n)
	}
	if log, err := os.ReadFile(filepath.Join(b.home, "pgapp.log")); err != nil || bytes.Contains(log, []byte("canary in a mine")) {
		t.Errorf("the passphrase is in the log, or: %v", err)
	}
}

// observing wants a daemon that shows everything and changes nothing.
func observing(t *testing.T, b *box) {
	t.Helper()
	if m := b.mode(); m != "observing" {
		t.Fatalf("the daemon is %s", m)
	}
	for _, args := range [][]string{{"up"}, {"stop"}, {"restart", "node1"}, {"reinit", "node1"}, {"down", "--volumes", "--yes"}, {"up", "--cluster", "other", "--provider", "local"}} {
		if r := b.want(appliance.ExitConflict, args...); !strings.Contains(r.err, "pgapp adopt") {
			t.Errorf("%q does not name pgapp adopt: %s", args, r.err)
		}
	}
}

// plainTools opens an archive without pgapp.
func plainTools(t *testing.T, saved string) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", saved, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for _, name := range []string{archive.ManifestName, archive.StateName} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hostileRestores are refused and change nothing. saved is from before the
// epoch grew.
func hostileRestores(t *testing.T, b *box, saved string) {
	dir := t.TempDir()
	whole, err := os.ReadFile(saved)
	b.must(err)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		b.must(os.WriteFile(path, data, 0o600))
		return path
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0x40
	other := newBox(t)
	other.ok("info")
	foreign := filepath.Join(dir, "foreign.tar")
	other.ok("state", "backup", "--plaintext", foreign)
	before, err := os.ReadFile(filepath.Join(b.home, "state.id"))
	b.must(err)
	for _, c := range []struct {
		file, id string
		code     int
	}{
		{write("empty", nil), "archive-invalid", appliance.ExitUsage},
		{write("text", []byte(strings.Repeat("no archive\n", 1000))), "archive-invalid", appliance.ExitUsage},
		{write("cut", whole[:len(whole)/2]), "archive-invalid", appliance.ExitUsage},
		{write("flipped", flipped), "archive-invalid", appliance.ExitUsage},
		{foreign, "archive-foreign", appliance.ExitConflict},
		{saved, "archive-older", appliance.ExitConflict},
	} {
		r := b.run("state", "restore", "--yes", c.file)
		if r.code != c.code || !strings.Contains(r.err, c.id) {
			t.Errorf("%s: exit code %d, want %d and %s\n%s", filepath.Base(c.file), r.code, c.code, c.id, r.err)
		}
	}
	after, err := os.ReadFile(filepath.Join(b.home, "state.id"))
	b.must(err)
	if !bytes.Equal(before, after) || b.mode() != "normal" {
		t.Errorf("a refused restore left %s instead of %s, mode %s", after, before, b.mode())
	}
	if left := b.unpacked(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	b.verified()
}

// killedRestores kills the daemon at many moments of a restore: there is the
// old state or the new one, and the cluster can be adopted from either.
func killedRestores(t *testing.T, b *box) {
	const rounds = 10
	now, old := 0, 0
	for i := range rounds {
		file := filepath.Join(t.TempDir(), "state.tar")
		b.ok("state", "backup", "--plaintext", file)
		finish := func() {}
		if i == 0 { // however slow the machine is, this one is killed in time
			file, finish = halfOf(t, file)
		}
		pid := b.pid()
		_, wait := b.background("state", "restore", "--yes", file)
		// On a busy machine the restore may be over before it is seen.
		for end := time.Now().Add(3 * time.Second); len(b.unpacked()) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			continue
		}
		time.Sleep(time.Duration(i*i) * 4 * time.Millisecond)
		killAndWait(t, pid)
		finish()
		if r := wait(); strings.Contains(r.err, "has not started again") {
			t.Errorf("kill %d: nobody starts the daemon: %s", i, r.err)
		}
		switch m := b.mode(); m {
		case "observing":
			now++
			b.adopt()
		case "normal":
			old++
		default:
			t.Fatalf("kill %d: the daemon is %s\n%s", i, m, b.log())
		}
		if s := b.ps(); s.Primary != "node0" {
			t.Fatalf("kill %d: %+v", i, s)
		}
		if left := b.unpacked(); len(left) > 0 {
			t.Errorf("kill %d: left behind: %q", i, left)
		}
	}
	t.Logf("killed %d times: %d times the old state, %d times the new one", rounds, old, now)
	if old == 0 {
		t.Error("no kill came before the new state was in place")
	}
	b.ok("state", "check")
	b.verified()
}

// halfOf is a pipe in which the rest of the file never comes; finish ends it.
func halfOf(t *testing.T, file string) (path string, finish func()) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "half.tar")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0) // which waits for no reader
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = w.Write(whole[:len(whole)/2]) }()
	return path, func() { _ = w.Close() }
}

// damagedState is noticed, and restored in recovery.
func damagedState(t *testing.T, b *box) {
	file := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", file)
	b.damage()
	if m := b.mode(); m != "recovery" {
		t.Fatalf("with a damaged state the daemon is %s", m)
	}
	b.want(appliance.ExitDegraded, "state", "check")
	b.want(appliance.ExitFailed, "ps")
	b.ok("logs", "--daemon")
	b.ok("state", "restore", "--yes", file)
	observing(t, b)
	b.adopt()
	b.verified()
	if kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*")); len(kept) == 0 {
		t.Error("what was replaced is not kept")
	}
}

// lostState restores into a home that has forgotten everything.
func lostState(t *testing.T, b *box) {
	file := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", file)
	b.ok("shutdown")
	for _, name := range []string{"state.db", "state.id", "token"} {
		b.must(os.Remove(filepath.Join(b.home, name)))
	}
	b.want(appliance.ExitConflict, "state", "restore", "--yes", file)
	b.ok("state", "restore", "--yes", "--adopt", file)
	observing(t, b)
	b.verified()
	b.adopt()
	b.verified()

	// Elsewhere, a home with nothing but the state sees the same cluster and
	// verifies it, but takes over nothing that isn't its own.
	other := newBoxAt(t, filepath.Join(filepath.Dir(b.home), "elsewhere"))
	if b.net != nil {
		other.net, other.prefix = b.net, b.prefix
	}
	other.ok("state", "restore", "--yes", "--adopt", file)
	if s := other.ps(); memberOf(s, "node0").State != appliance.StateRunning {
		t.Errorf("elsewhere: %+v", s)
	}
	other.verified()
	other.want(appliance.ExitConflict, "adopt")
	other.ok("shutdown")
	b.must(os.RemoveAll(other.home))
}

// promotedByHand restores a backup from before the primary changed.
func promotedByHand(t *testing.T, b *box, was appliance.ClusterStatus) {
	file := filepath.Join(t.TempDir(), "state.tar")
	b.ok("state", "backup", "--plaintext", file)
	b.killDaemon()
	b.pgCtl("node0", "-m", "immediate", "stop")
	b.pgCtl("node1", "promote")
	b.damage()
	b.ok("state", "restore", "--yes", file)
	observing(t, b)
	b.killDaemon()
	time.Sleep(500 * time.Millisecond) // a daemon that were to start the old primary would do so now
	if m := memberOf(b.ps(), "node0"); m.State != appliance.StateStopped {
		t.Fatalf("the old primary: %+v", m)
	}
	a := b.adopt()
	if a.Primary != "node1" || a.Was != "node0" || a.Timeline != 2 {
		t.Errorf("adopted: %+v", a)
	}
	b.killDaemon()
	settled(t, b, "node1", appliance.StateRunning)
	if m := memberOf(b.ps(), "node1"); m.Role != appliance.RolePrimary {
		t.Fatalf("the new primary: %+v", m)
	}
	b.ok("reinit", "node0")
	b.verified()
	if s := b.ps(); s.Primary != "node1" || s.Timeline != 2 || s.SystemIdentifier != was.SystemIdentifier {
		t.Errorf("in the end: %+v", s)
	}
	if n := b.rows("SELECT n FROM kept"); n != "7" {
		t.Errorf("what was written is %q", n)
	}
}
