package local

import (
	"bytes"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// sureFor is how long a postmaster that was found running, in its member's place and cgroup,
// is known by its open files alone. An event ends it at once.
const sureFor = 5 * time.Second

// glances are the watches that inotify serves, with when each looks next and what spares
// the questions of a daemon at rest: the files that say how the postmaster is. The zero
// value is ready for use.
type glances struct {
	mu sync.Mutex
	of map[acquaintanceKey]*glanced
}

// glanced is a member that is watched.
type glanced struct {
	// next are the next looks of its watches.
	next []*time.Timer
	// files are nil where nobody has found it running since the last event.
	files *lifeFiles
	// events counts the events.
	events uint64
}

// putOff puts off the next looks.
func (g *glanced) putOff() {
	for _, next := range g.next {
		next.Reset(afterSign)
	}
}

func (g *glanced) forget() {
	g.files.close()
	g.files = nil
}

// add returns a function that undoes it.
func (g *glances) add(m *machine, next *time.Timer) (remove func()) {
	key := m.acquaintanceKey()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[acquaintanceKey]*glanced{}
	}
	if g.of[key] == nil {
		g.of[key] = &glanced{}
	}
	in := g.of[key]
	in.next = append(in.next, next)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if in.next = slices.DeleteFunc(in.next, func(t *time.Timer) bool { return t == next }); len(in.next) == 0 {
			in.forget()
			delete(g.of, key)
		}
	}
}

// sign returns the sign of a postmaster that was kept and still runs, and the number of events
// so far.
func (g *glances) sign(m *machine, now time.Time) (sign appliance.Sign, ok bool, events uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in := g.of[m.acquaintanceKey()]
	switch {
	case in == nil:
		return sign, false, 0
	case in.files == nil:
	case now.Before(in.files.until) && in.files.run():
		in.putOff()
		return in.files.sign, true, in.events
	default:
		in.forget()
	}
	return sign, false, in.events
}

// keep notes that the member's postmaster was found running by a look that began at now, after
// that number of events. A member that nobody watches is not kept, nor one of which there was
// an event meanwhile.
func (g *glances) keep(m *machine, pm acquaintance, sign appliance.Sign, events uint64, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in := g.of[m.acquaintanceKey()]
	if in == nil || in.events != events {
		return
	}
	in.putOff()
	in.forget()
	in.files = openLife(pm.p, pm.start, m.p.cgroups.ofProc(pm.p))
	if in.files != nil {
		in.files.until, in.files.sign = now.Add(sureFor), sign
	}
}

// event has the next sign come of a look at everything.
func (g *glances) event(m *machine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in := g.of[m.acquaintanceKey()]; in != nil {
		in.events++
		in.forget()
	}
}

// lifeFiles are open files that say how one process is. They say nothing of another one that
// gets its number.
type lifeFiles struct {
	stat int
	// events is of the process's cgroup, -1 without one.
	events int
	sign   appliance.Sign
	until  time.Time
}

// openLife opens the files of the process that began at start and is in the cgroup, nil if
// they can't be read.
func openLife(p proc, start, cgroup string) *lifeFiles {
	open := func(path string) (int, error) {
		return again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	}
	f := &lifeFiles{events: -1}
	var err error
	if f.stat, err = open(p.path("stat")); err != nil {
		return nil
	}
	if cgroup != "" {
		f.events, err = open(filepath.Join(cgroup, eventsFile))
	}
	var buf [lifeSize]byte
	if _, _, began := parseLife(readOpen(f.stat, buf[:])); err != nil || began != start {
		f.close()
		return nil
	}
	return f
}

// lifeSize is more than either file has.
const lifeSize = 1 << 10

// run tells whether the process runs: it has not ended, and is neither stopped nor frozen.
func (f *lifeFiles) run() bool {
	var buf [lifeSize]byte
	if state, _, _ := parseLife(readOpen(f.stat, buf[:])); !running(state) {
		return false
	}
	if f.events < 0 {
		return true
	}
	events := readOpen(f.events, buf[:])
	return len(events) > 0 && !bytes.Contains(events, []byte("frozen 1"))
}

func (f *lifeFiles) close() {
	if f == nil {
		return
	}
	_ = unix.Close(f.stat)
	if f.events >= 0 {
		_ = unix.Close(f.events)
	}
}

// readOpen reads an open file that the kernel makes up, from its beginning.
func readOpen(fd int, buf []byte) []byte {
	n, err := again(func() (int, error) { return unix.Pread(fd, buf, 0) })
	if err != nil {
		return nil
	}
	return buf[:n]
}
