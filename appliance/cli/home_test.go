package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestMakeHomeRefusesUnreachableSocket makes nothing where the daemon's socket
// would have too long a path, and everything one byte below.
func TestMakeHomeRefusesUnreachableSocket(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	pad := maxSocketPath - len("/"+socketName) - len(top) - 1
	if pad < 1 {
		t.Skip("SKIPPED: the directory for temporary files has too long a path itself")
	}
	long := filepath.Join(top, strings.Repeat("x", pad+1))
	if err := makeHome(long); !appliance.IsProblem(err, appliance.ErrHomeUnusable) {
		t.Errorf("makeHome(%d bytes) = %v", len(long), err)
	}
	if left, err := os.ReadDir(top); err != nil || len(left) != 0 {
		t.Errorf("refused, and yet there is %v, %v", left, err)
	}
	if err := makeHome(long[:len(long)-1]); err != nil {
		t.Error(err)
	}
}

// TestMakeHomeRefusesWhatShellsExpand makes nothing, but leaves a home alone
// that is in use.
func TestMakeHomeRefusesWhatShellsExpand(t *testing.T) {
	t.Parallel()
	for _, sign := range []string{`"`, "$", "`", `\`} {
		dir := filepath.Join(t.TempDir(), "a"+sign+"b")
		if err := makeHome(dir); !appliance.IsProblem(err, appliance.ErrHomeUnusable) {
			t.Errorf("makeHome(%q) = %v", dir, err)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%q was made", dir)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pgapp.lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := makeHome(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestHomeDirRefusesWhatNoFileCanName(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/tmp/a\nb", "/tmp/a\x00b", "/tmp/a\xff", "/tmp/a\u2028b", "/tmp/\x7f"} {
		if _, err := homeDir(dir); !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("homeDir(%q): %v", dir, err)
		}
	}
	for _, dir := range []string{"/tmp/a b", "/tmp/a,b", "/tmp/é'\"$%\\"} {
		if got, err := homeDir(dir); err != nil || got != dir {
			t.Errorf("homeDir(%q) = %q, %v", dir, got, err)
		}
	}
}

func TestCheckHomeOwnerRefusesRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkHomeOwner(dir, 0); err != nil {
		t.Errorf("nobody's home: %v", err)
	}
	lock := filepath.Join(dir, "pgapp.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := checkHomeOwner(dir, 0); err != nil {
			t.Errorf("root's home: %v", err)
		}
		if err := os.Chown(lock, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkHomeOwner(dir, 0); !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Errorf("another's home: %v", err)
	}
	if err := checkHomeOwner(dir, 65534); err != nil {
		t.Errorf("the owner: %v", err)
	}
}
