package relay

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below don't tell the scheduler that they may wait. One that waits for others
// gets a new processor afterwards, and as long as that happens the scheduler looks every
// 20 µs whether it does: that costs more than the bytes.

// shortWait is how long a thread waits without telling, in milliseconds: sessions that are
// busy send within it. The collector may have to wait as long.
const shortWait = 1

// await returns the events that have come.
func await(epoll int, events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), //nolint:gosec // a descriptor
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), shortWait, 0, 0) //nolint:gosec // the kernel writes there
	if errno == 0 && n > 0 {
		return int(n), nil //nolint:gosec // at most len(events)
	}
	if errno != 0 && errno != unix.EINTR {
		return 0, errno
	}
	got, err := unix.EpollWait(epoll, events, -1)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return got, err
}

// read reads once from a descriptor that doesn't block.
func read(fd int, b []byte) (int, error) { return transfer(unix.SYS_READ, fd, b) }

// write writes once to a descriptor that doesn't block, and returns what was not taken.
// ok is false after an error.
func write(fd int, b []byte) (left []byte, ok bool) {
	n, err := transfer(unix.SYS_WRITE, fd, b)
	if err != nil {
		return b, isAgain(err)
	}
	return b[n:], true
}

func transfer(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // a descriptor and its bytes
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil //nolint:gosec // at most len(b)
}

// isAgain tells whether a call may succeed later.
func isAgain(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }
