//go:build integration

package cli_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// nobodyID is the user without rights that tests run the program as.
const nobodyID = 65534

// ordinaryBox runs everything as a user without rights.
func ordinaryBox(t *testing.T) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: the other tests run as an ordinary user already")
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	b := newBox(t)
	b.must(os.Mkdir(b.home, 0o700))
	b.must(os.Chown(b.home, nobodyID, nobodyID))
	b.prefix = append(b.prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
	b.env = []string{"HOME=" + b.home, "XDG_RUNTIME_DIR="}
	return b
}

// TestRootLeavesAUsersHomeAlone has root meet an ordinary user's home without
// a daemon, and then the user remove everything.
func TestRootLeavesAUsersHomeAlone(t *testing.T) {
	t.Parallel()
	b := ordinaryBox(t)
	b.up("--standbys", "1", "--dataset", "none")
	b.ok("shutdown")
	user := b.prefix
	b.prefix = user[:len(user)-5]
	for _, args := range [][]string{{"ps"}, {"up"}, {"start", "node1"}, {"down", "--volumes", "--yes"}, {"serve"}} {
		r := b.want(appliance.ExitHost, args...)
		if !strings.Contains(r.err, "error[host-permission]") || !strings.Contains(r.err, "sudo -u") {
			t.Errorf("pgapp %q as root: %s", args, r.err)
		}
	}
	b.prefix = user
	b.must(filepath.WalkDir(b.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err == nil && st.Uid == 0 {
			t.Errorf("root left %s", path)
		}
		return nil
	}))
	b.verified()
	b.ok("down", "--volumes", "--yes")
}

// TestUpInAHomeWithAnOddPath has a home whose name holds all that configuration files,
// connection strings and shells take for more than a letter.
func TestUpInAHomeWithAnOddPath(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp(homesDir(), "odd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := newBoxAt(t, filepath.Join(dir, `a,b:c's %41 #&;*[x]`))
	b.must(os.Chmod(dir, 0o711))
	b.shareTree().up("--standbys", "1", "--dataset", "none")
	b.verified()
	if n := b.rows("SELECT 1"); n != "1" {
		t.Errorf("psql says %q", n)
	}
	b.ok("stop")
	b.ok("start")
	b.ok("reinit", "node1")
	b.verified()
}

// TestUserWithoutAName runs as a number that no passwd entry has, as in
// containers: doctor and up say so alike, before anything is made.
func TestUserWithoutAName(t *testing.T) {
	t.Parallel()
	b := ordinaryBox(t)
	b.must(os.Chown(b.home, 54321, 54321))
	for i, arg := range b.prefix {
		b.prefix[i] = strings.ReplaceAll(arg, "65534", "54321")
	}
	b.env = append(b.env, "USER=somebody")
	for _, args := range [][]string{{"doctor", "--provider", "local"}, {"up", "--provider", "local", "--standbys", "1"}} {
		r := b.want(appliance.ExitHost, args...)
		if !strings.Contains(r.out+r.err, "has no name in the passwd database") {
			t.Errorf("pgapp %q: %s%s", args, r.out, r.err)
		}
	}
	b.ok("down", "--volumes", "--yes")
}
