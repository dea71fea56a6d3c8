package home

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestMakeRefusesUnreachableSocket makes nothing where the daemon's socket
// would have too long a path, and everything one byte below.
func TestMakeRefusesUnreachableSocket(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	pad := maxSocketPath - len("/"+Socket) - len(top) - 1
	if pad < 1 {
		t.Skip("SKIPPED: the directory for temporary files has too long a path itself")
	}
	long := filepath.Join(top, strings.Repeat("x", pad+1))
	if err := Make(long); !appliance.IsProblem(err, appliance.ErrHomeUnusable) {
		t.Errorf("Make(%d bytes) = %v", len(long), err)
	}
	if left, err := os.ReadDir(top); err != nil || len(left) != 0 {
		t.Errorf("refused, and yet there is %v, %v", left, err)
	}
	if err := Make(long[:len(long)-1]); err != nil {
		t.Error(err)
	}
}

// TestMakeRefusesShellCharacters makes nothing, but leaves a home alone
// that is in use.
func TestMakeRefusesShellCharacters(t *testing.T) {
	t.Parallel()
	for _, sign := range []string{`"`, "$", "`", `\`} {
		dir := filepath.Join(t.TempDir(), "a"+sign+"b")
		if err := Make(dir); !appliance.IsProblem(err, appliance.ErrHomeUnusable) {
			t.Errorf("Make(%q) = %v", dir, err)
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
		if err := Make(dir); err != nil {
			t.Error(err)
		}
	}
}
