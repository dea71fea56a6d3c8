package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance/durable"
)

// TestUnfinishedFileIsBesideItsTarget: a process that is killed leaves nothing in the
// directory for temporary files, which others read and nobody tidies.
func TestUnfinishedFileIsBesideItsTarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passphrase")
	f, err := durable.NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Cleanup() }()
	if got := filepath.Dir(f.Name()); got != filepath.Dir(path) {
		t.Errorf("the unfinished file is in %s, want %s", got, filepath.Dir(path))
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "new" || st.Mode().Perm() != 0o600 {
		t.Errorf("read %q, mode %o, error %v", b, st.Mode().Perm(), err)
	}
}
