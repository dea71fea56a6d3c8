package daemon

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes the descriptors that the process inherited, except the
// standard streams and keep. The daemon and the servers outlive the process that
// started them: its locks would stay taken, and the readers of its pipes would
// never see their end. Go opens every file close-on-exec, so
// one without that flag was inherited.
func closeInherited(keep int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // without /proc no member can be watched either, which is said elsewhere
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= unix.Stderr || fd == keep {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // what was written through it isn't ours to know
		}
	}
}
