package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

// smallDisk mounts a file system of its own, or skips aloud.
func smallDisk(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=0700", kib)); err != nil {
		t.Skipf("SKIPPED, the full disk is not tested: mounting a tmpfs needs root: %v", err)
	}
	// Detached, since a process that another test is just starting has a copy of
	// every descriptor until its exec.
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// fillDisk takes the last byte, and returns what gives it back.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path) //nolint:gosec // a path of the test's
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// TestFullDisk lets every kind of write meet a full disk: a clear problem,
// nothing changed, and the same store goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 1024)
	s := open(t, dir)
	fill(t, s)
	ctx := t.Context()
	want, err := content(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	free := fillDisk(t, dir)
	big := strings.Repeat("x", 200_000) // more than the file's free pages
	op := storetest.NewOperation("op2", "other")
	op.Build = big
	begun := storetest.NewOperation("op3", "main")
	begun.Build = big
	for name, write := range map[string]func() error{
		"SaveOperation": func() error { return s.SaveOperation(ctx, op, false) },
		"Begin":         func() error { return s.Begin(ctx, appliance.Beginning{Operation: begun}) },
		"PutSetting":    func() error { return s.PutSetting(ctx, "backup", []byte(big)) },
		"UpdateCluster": func() error {
			_, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error { c.UUID = big; return nil })
			return err
		},
		"UpdateSecrets": func() error {
			return s.UpdateSecrets(ctx, "main", func(sec *appliance.Secrets) error {
				sec.Values["big"] = appliance.NewSecret(big)
				return nil
			})
		},
	} {
		err := write()
		wantProblem(t, err, appliance.ErrStoreFull, dir, "free disk space")
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v is not ENOSPC", name, err)
		}
		got, err := content(ctx, s)
		if err != nil || got != want {
			t.Errorf("%s changed something (%v):\n%s", name, err, got)
		}
	}
	manyOnFullDisk(t, s, op)
	_, err = s.Backup(ctx, brokenWriter{}) // reading goes on: it fails only at the writer
	if !errors.Is(err, errBroken) {
		t.Errorf("backup: %v", err)
	}
	free()
	if err := errors.Join(s.SaveOperation(ctx, op, false), s.Begin(ctx, appliance.Beginning{Operation: begun})); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	closeStore(t, s)
	report, err := store.Check(ctx, filepath.Join(dir, store.FileName))
	if err != nil || len(report.Findings) != 0 || report.Values["operations"] != 3 {
		t.Errorf("check afterwards: %+v (%v)", report, err)
	}
}

// manyOnFullDisk saves by several at once: all are told.
func manyOnFullDisk(t *testing.T, s *store.Store, op appliance.Operation) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.SaveOperation(t.Context(), op, false); !appliance.IsProblem(err, appliance.ErrStoreFull) {
				t.Errorf("one of many: %v, want store-full", err)
			}
		})
	}
	wg.Wait()
}

// TestFullDiskAtFirst creates a home on a full disk.
func TestFullDiskAtFirst(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 256)
	free := fillDisk(t, dir)
	for range 2 {
		_, err := store.Open(t.Context(), dir, store.Options{})
		wantProblem(t, err, appliance.ErrStoreFull, store.FileName, "free disk space")
		for _, name := range []string{store.FileName, store.SidecarName} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				t.Errorf("%s was left", name)
			}
		}
	}
	free()
	fill(t, open(t, dir))
}

// TestReadOnlyDisk opens a home that can't be written to.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 512)
	closeStore(t, open(t, dir))
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(end) { // see smallDisk
			t.Fatal(err)
		}
	}
	_, err := store.Open(t.Context(), dir, store.Options{})
	if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrHostReadOnly {
		t.Errorf("error %v, want host-read-only", err)
	}
}
