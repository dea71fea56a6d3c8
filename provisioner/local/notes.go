package local

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Names in a member's directory.
const (
	dataName    = "data"
	pidFileName = "postmaster.pid"
)

// notesSize holds some hundred events of inotify.
const notesSize = 8 << 10

// notes reports changes of files by inotify (inotify(7)). Without inotify, whose
// number of instances is limited for each user, notes reports nothing.
type notes struct {
	fd   int
	file *os.File
	// wds maps each path to its number in inotify.
	wds  map[string]uint32
	done chan struct{}
}

// openNotes calls poke, in another goroutine, after each change that matters.
func openNotes(poke func()) *notes {
	n := &notes{wds: map[string]uint32{}, done: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		close(n.done)
		return n
	}
	n.fd, n.file = fd, os.NewFile(uintptr(fd), "inotify")
	go func() {
		defer close(n.done)
		n.read(poke)
	}()
	return n
}

func (n *notes) read(poke func()) {
	buf := make([]byte, notesSize)
	for {
		size, err := n.file.Read(buf)
		if err != nil {
			return
		}
		if matters(buf[:size]) {
			poke()
		}
	}
}

// matters reports whether one of the events is of a cgroup, the data directory or
// the pid file, or whether events were lost.
func matters(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		events = events[end:]
		if mask&unix.IN_IGNORED == 0 && (name == "" || name == dataName || name == pidFileName) {
			return true
		}
	}
	return false
}

// cover makes paths the followed ones, and reports whether a path now names
// another file. A missing path is left out until the next call.
func (n *notes) cover(paths []string) (changed bool) {
	if n.file == nil {
		return false
	}
	for path, old := range n.wds {
		if !slices.Contains(paths, path) {
			n.drop(path, old)
		}
	}
	for _, path := range paths {
		old, known := n.wds[path]
		wd, err := unix.InotifyAddWatch(n.fd, path, unix.IN_DONT_FOLLOW|
			unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_CLOSE_WRITE|unix.IN_MODIFY)
		if err == nil && known && uint32(wd) == old {
			continue
		}
		if known {
			n.drop(path, old)
		}
		if err == nil {
			n.wds[path] = uint32(wd)
		}
		changed = changed || known || err == nil
	}
	return changed
}

// follow reports whether changes of the path are reported. The empty path has none.
func (n *notes) follow(path string) bool {
	_, ok := n.wds[path]
	return ok || path == ""
}

func (n *notes) drop(path string, wd uint32) {
	delete(n.wds, path)
	_, _ = unix.InotifyRmWatch(n.fd, wd) // the kernel drops a removed file by itself
}

// close returns after the reader has ended.
func (n *notes) close() {
	if n.file != nil {
		_ = n.file.Close()
		<-n.done
	}
}
