package local

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// hold is a process whose end is awaited by a pidfd. A nil hold stands for no
// process.
type hold struct {
	p proc
	// file is the pidfd, or nil on a kernel before Linux 5.3.
	file *os.File
	done chan struct{}
}

// holdProc calls end, in another goroutine, after the process has ended.
func holdProc(p proc, end func()) *hold {
	h := &hold{p: p, done: make(chan struct{})}
	fd, err := openPidfd(p.pid)
	if errors.Is(err, unix.ESRCH) {
		end()
	}
	if err != nil {
		close(h.done)
		return h
	}
	h.file = os.NewFile(uintptr(fd), "pidfd")
	go func() {
		defer close(h.done)
		raw, err := h.file.SyscallConn()
		if err == nil {
			err = raw.Read(pidfdEnded)
		}
		if err == nil {
			end()
		}
	}()
	return h
}

// openPidfd opens a pidfd that Go's poller can wait for.
func openPidfd(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// pidfdEnded reports whether the pidfd's process has ended.
func pidfdEnded(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// pinned reports whether the process's end is awaited.
func (h *hold) pinned() bool { return h != nil && h.file != nil && !h.ended() }

// ended reports whether nobody awaits the process's end any more.
func (h *hold) ended() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// close ends the wait. It returns after the wait's goroutine has ended.
func (h *hold) close() {
	if h == nil || h.file == nil {
		return
	}
	_ = h.file.Close()
	<-h.done
}
