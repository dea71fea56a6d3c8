package tree_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pgapp/appliance/postgres/tree"
)

// TestUnpackNoSpace fills real file systems: one that is seen to be too small
// before anything is written, and one that runs out of inodes half-way.
func TestUnpackNoSpace(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: a file system of a chosen size needs root")
	}
	many := usual(t)
	for i := range 200 {
		many = append(many, entry{name: fmt.Sprintf("usr/share/%d", i), body: "x", mode: 0o644})
	}
	for name, options := range map[string]string{
		"seen before":       "size=1m",
		"met while writing": "size=64m,nr_inodes=100",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			if err := syscall.Mount("tmpfs", parent, "tmpfs", 0, options); err != nil {
				t.Skipf("SKIPPED: this machine mounts no tmpfs: %v", err)
			}
			t.Cleanup(func() { // detached: a process that is just being started may hold a file
				if err := syscall.Unmount(parent, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			dir := filepath.Join(parent, "trees")
			_, _, err := tree.Unpack(t.Context(), archiveOf(t, many), dir)
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("got %v, want ENOSPC", err)
			}
			onlyTrees(t, dir, 0)
		})
	}
}

func TestUnpackNoPermission(t *testing.T) {
	t.Parallel()
	blocked := filepath.Join(t.TempDir(), "file")
	write(t, blocked, "")
	_, _, err := tree.Unpack(t.Context(), archiveOf(t, usual(t)), filepath.Join(blocked, "trees"))
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v, want ENOTDIR", err)
	}
}
