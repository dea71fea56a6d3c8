//go:build integration

package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// TestFenceFreesSharedMemory looks at what a killed server leaves in memory.
func TestFenceFreesSharedMemory(t *testing.T) {
	t.Parallel()
	_, m := newServer(t, newTestProvider(t, "home"))
	pm := m.mustStart(t)
	maps, err := os.ReadFile(pm.path("maps"))
	if err != nil {
		t.Fatal(err)
	}
	var posix []string
	for _, f := range strings.Fields(string(maps)) {
		if strings.HasPrefix(f, posixShmDir+"/PostgreSQL.") {
			posix = append(posix, f)
		}
	}
	content, err := m.ReadFile(testContext(t), filepath.Join(m.Layout().DataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	const keyLine = 6
	key := strings.Fields(strings.Split(string(content), "\n")[keyLine])
	segment := func() bool {
		table, err := os.ReadFile("/proc/sysvipc/shm")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); f[1] == key[1] {
				return true
			}
		}
		return false
	}
	if len(posix) == 0 || !segment() {
		t.Fatalf("the running server has segments %q and %v: %v", posix, key, segment())
	}
	if err := m.Fence(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if segment() {
		t.Error("the System V segment is left")
	}
	for _, path := range posix {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
}

// TestRunFreesSharedMemory ends initdb while the server that it runs has
// shared memory.
func TestRunFreesSharedMemory(t *testing.T) {
	t.Parallel()
	_, m := newServer(t, newTestProvider(t, "home"))
	own := func() (ids []int) {
		table, err := os.ReadFile("/proc/sysvipc/shm")
		if err != nil {
			t.Fatal(err)
		}
		dirs := m.possibleDataDirs()
		for _, found := range segments(string(table), serverUID(t, m)) {
			if _, ours := segmentOf(found.id, dirs); ours {
				ids = append(ids, found.id)
			}
		}
		return ids
	}
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() {
		_, err := m.Run(ctx, appliance.Command{Argv: []string{filepath.Join(m.binDir, "initdb"), "-D", filepath.Join(m.dir, "data.partial", "data")}})
		ended <- err
	}()
	for len(own()) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("initdb ended before its server had memory: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := own(); len(left) > 0 {
		t.Errorf("segments %v are left", left)
	}
}

// TestFenceWaitsForMemoryReaders is a fence while somebody looks at the memory.
func TestFenceWaitsForMemoryReaders(t *testing.T) {
	t.Parallel()
	_, m := newServer(t, newTestProvider(t, "home"))
	pm := m.mustStart(t)
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	dirs := m.possibleDataDirs()
	id := -1
	for _, s := range segments(string(table), serverUID(t, m)) {
		if _, ours := segmentOf(s.id, dirs); ours && s.near(dirs) {
			id = s.id
		}
	}
	if id < 0 {
		t.Fatal("the running server has no segment near its directory's inode")
	}
	mem, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for pm.alive() {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		_ = unix.SysvShmDetach(mem)
	}()
	if err := m.Fence(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, ours := segmentOf(id, dirs); ours {
		t.Error("the segment is left")
	}
}

func serverUID(t *testing.T, m *machine) uint32 {
	t.Helper()
	i, err := m.p.account.lookup()
	if err != nil {
		t.Fatal(err)
	}
	return i.uid
}
