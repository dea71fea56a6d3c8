package daemon

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseMemory gives back memory that only operations need: the heap's free pages,
// and those of the binary's read-only data.
// The PostgreSQL tree and the template lie there, 28 MB that count as resident
// once read; the kernel reads them again from the file if they are needed.
func releaseMemory() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return // resident pages do no harm
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer func() { _ = maps.Close() }()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// 00400000-01234000 r--p 00000000 fe:00 1234   /path/of/pgapp
		f := strings.Fields(lines.Text())
		if len(f) == 6 && f[1] == "r--p" && f[5] == self {
			dropPages(f[0])
		}
	}
}

// dropPages takes a range of a private read-only file mapping out of memory.
func dropPages(span string) {
	from, to, ok := strings.Cut(span, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if !ok || err1 != nil || err2 != nil {
		return
	}
	// The call is advice: if the kernel refuses it, the pages stay.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
}
