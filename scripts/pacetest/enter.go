package pacetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance/wait"
)

const (
	// measured is how long the processors are watched before a test may enter. It is also
	// the least time between two tests, so that the first one's servers count.
	measured = 500 * time.Millisecond
	// room is the idle share of all processors that lets one more test in.
	room = 0.1
	// places bounds the tests that are in at once.
	places = 64
)

// Enter waits until the machine has room for one more test with servers: until its processors
// are idle for a part of half a second, or no other test is in, of whatever process of this
// user. The test is in until it has ended, and what it cleaned up after this call. Entering
// twice is entering once; a subtest is its test.
func Enter(t testing.TB) {
	t.Helper()
	dir, name := dir(), fmt.Sprintf("%d %s", os.Getpid(), root(t.Name()))
	if isIn(dir, name) {
		return
	}
	began := time.Now()
	place, err := enter(dir, name)
	if err != nil {
		t.Fatalf("waiting for room on this machine: %v", err)
	}
	if waited := time.Since(began); waited > time.Second {
		t.Logf("waited %s for room on this machine", waited.Round(time.Second))
	}
	t.Cleanup(func() { // the lock ends with the file
		if err := errors.Join(place.Truncate(0), place.Close()); err != nil {
			t.Error(err)
		}
	})
}

// isIn tells whether one of that name is in. The file of one whose process was killed keeps
// the name without the lock, and a later process may have its number.
func isIn(dir, name string) bool {
	for i := range places {
		text, err := os.ReadFile(placeFile(dir, i))
		if err != nil {
			return false
		}
		if string(text) != name {
			continue
		}
		f, err := lock(placeFile(dir, i), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return true
		}
		if err == nil {
			_ = f.Close() // nothing was written
		}
	}
	return false
}

// root is the name of the test that a subtest belongs to.
func root(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// dir holds the locks, for all tests of this user.
func dir() string {
	parent := os.Getenv("PGAPP_TEST_DIR")
	if parent == "" {
		parent = os.TempDir()
	}
	return filepath.Join(parent, "pgapp-pace-"+strconv.Itoa(os.Getuid()))
}

// enter takes a place as soon as there is room. One at a time asks: the door is locked
// meanwhile.
func enter(dir, name string) (place *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	door, err := lock(filepath.Join(dir, "door"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, door.Close()) }()
	err = wait.Until(context.Background(), time.Millisecond, func(context.Context) (bool, error) {
		if in, err := taken(dir); err != nil || in == 0 {
			return err == nil, err
		}
		idle, err := idle(measured)
		return idle >= room, err
	})
	if err != nil {
		return nil, err
	}
	for i := range places {
		place, err = lock(placeFile(dir, i), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			continue
		case err != nil:
			return nil, err
		}
		if err := errors.Join(place.Truncate(0), write(place, name)); err != nil {
			return nil, errors.Join(err, place.Close())
		}
		return place, nil
	}
	return nil, fmt.Errorf("all %d places in %s are taken", places, dir)
}

func write(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func placeFile(dir string, i int) string { return filepath.Join(dir, "place-"+strconv.Itoa(i)) }

// taken counts the places that somebody is in. The lowest free one is taken first, so that
// behind the first that has no file none is taken.
func taken(dir string) (n int, err error) {
	for i := range places {
		name := placeFile(dir, i)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return n, nil
		}
		f, err := lock(name, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			n++
			continue
		}
		if err != nil {
			return n, err
		}
		if err := f.Close(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// lock opens the file and locks it until it is closed.
func lock(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
		}
	}
}

// idle is the share of all processors' time in which none had anything to do, over the time.
func idle(over time.Duration) (float64, error) {
	idle0, all0, err := processors()
	if err != nil {
		return 0, err
	}
	time.Sleep(over)
	idle1, all1, err := processors()
	if err != nil || all1 == all0 {
		return 0, err
	}
	return float64(idle1-idle0) / float64(all1-all0), nil
}

// processors reads the first line of /proc/stat (proc_stat(5)): the time in which the
// processors were idle or waited for a disk, and all time.
func processors() (idle, all uint64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i, field := range fields[1:9] { // what follows is part of the first two
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat begins with %q: %w", line, err)
		}
		all += n
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return idle, all, nil
}
