package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance/durable"
)

func TestSyncDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	missing := filepath.Join(dir, "missing")
	for name, c := range map[string]struct {
		err error
		ok  bool
	}{
		"a directory":            {durable.SyncDir(dir), true},
		"a missing one":          {durable.SyncDir(missing), false},
		"the root":               {durable.SyncDirIn(root, ""), true},
		"below the root":         {durable.SyncDirIn(root, "below/"), true},
		"a missing one below it": {durable.SyncDirIn(root, "missing"), false},
	} {
		if c.ok && c.err != nil || !c.ok && (!errors.Is(c.err, fs.ErrNotExist) || !strings.Contains(c.err.Error(), missing)) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if err := durable.SyncDirIn(root, ".."); err == nil {
		t.Error("a directory outside of the root was synced")
	}
}
