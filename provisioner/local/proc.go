package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// procDir is the mount point of the proc file system.
const procDir = "/proc"

// serverName is the name of PostgreSQL's server program.
const serverName = "postgres"

// proc identifies a process; its methods read /proc.
type proc struct{ pid int }

func (p proc) path(name string) string { return filepath.Join(procDir, strconv.Itoa(p.pid), name) }

// readKernel reads a small file that the kernel makes up. os.ReadFile takes three times the
// system calls, for files that could be waited for.
func readKernel(path string) ([]byte, error) {
	fail := func(op string, err error) ([]byte, error) { return nil, &fs.PathError{Op: op, Path: path, Err: err} }
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return fail("open", err)
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 1024)
	for {
		n, err := again(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return fail("read", err)
		}
		if n == 0 {
			return buf, nil
		}
		if buf = buf[:len(buf)+n]; len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
	}
}

// again repeats a system call that a signal has interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// cwd returns the process's working directory, or "" for a process that has
// ended, including a zombie.
func (p proc) cwd() (string, error) {
	link, err := os.Readlink(p.path("cwd"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", nil
	}
	return strings.TrimSuffix(link, " (deleted)"), err
}

// ending reports whether the process is exiting or has exited.
func (p proc) ending() bool {
	cwd, err := p.cwd()
	return err == nil && cwd == ""
}

// uid returns the process's effective user. The second result is false if the
// user can't be read.
func (p proc) uid() (uint32, bool) {
	status, err := readKernel(p.path("status"))
	if err != nil {
		return 0, false
	}
	_, rest, _ := bytes.Cut(status, []byte("\nUid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[1]), 10, 32)
	return uint32(n), err == nil
}

// stat returns the state letter and the controlling terminal's number. The
// state is 0 if the process doesn't exist; tty is 0 without a terminal.
func (p proc) stat() (state byte, tty int) {
	state, tty, _ = p.life()
	return state, tty
}

// life returns what [proc.stat] returns, and when the process started, in the
// kernel's ticks since the boot. Number and start together belong to one process.
func (p proc) life() (state byte, tty int, start string) {
	data, err := readKernel(p.path("stat"))
	if err != nil {
		return 0, 0, ""
	}
	return parseLife(data)
}

// parseLife reads what [proc.life] returns from a process's stat (proc_pid_stat(5)).
func parseLife(data []byte) (state byte, tty int, start string) {
	// The name, in parentheses, may contain spaces and parentheses.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const stateField, ttyField, startField = 0, 4, 19
	if len(fields) <= startField {
		return 0, 0, ""
	}
	tty, _ = strconv.Atoi(string(fields[ttyField]))
	return fields[stateField][0], tty, string(fields[startField])
}

func (p proc) comm() string {
	data, _ := readKernel(p.path("comm"))
	return strings.TrimSpace(string(data))
}

// isServer reports whether the process runs PostgreSQL's server program, even
// if an upgrade has replaced the program's file.
func (p proc) isServer() bool {
	exe, err := os.Readlink(p.path("exe"))
	if err != nil {
		return p.comm() == serverName
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == serverName || p.comm() == serverName
}

// isPostmaster reports whether the process is a postmaster rather than one of
// its children, whose titles all begin with "postgres: ".
func (p proc) isPostmaster() bool {
	title, err := readKernel(p.path("cmdline"))
	return err == nil && p.isServer() && len(title) > 0 && !bytes.HasPrefix(title, []byte(serverName+": "))
}

// runs reports whether the process exists, and is neither stopped nor held by a debugger.
func (p proc) runs() bool {
	state, _ := p.stat()
	return running(state)
}

// running tells whether a process in that state runs: it has not ended and is not stopped.
func running(state byte) bool {
	switch state {
	case 0, 'Z', 'X', stateStopped, stateTraced:
		return false
	}
	return true
}

// alive reports whether the process exists and is not a zombie.
func (p proc) alive() bool {
	state, _ := p.stat()
	return state != 0 && state != 'Z' && state != 'X'
}

// kill sends the signal if still accepts the process. A pidfd held during the
// check keeps the kernel from giving the signal to another process with the
// same number. A process that has ended is no error.
func (p proc) kill(sig syscall.Signal, still func(proc) bool) error {
	h, err := os.FindProcess(p.pid)
	if err != nil {
		return fmt.Errorf("finding process %d: %w", p.pid, err)
	}
	defer func() { _ = h.Release() }()
	if !still(p) {
		return nil
	}
	if err := h.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to process %d: %w", sig, p.pid, err)
	}
	return nil
}

// allProcs lists all processes that /proc shows.
func allProcs() ([]proc, error) {
	d, err := os.Open(procDir)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var out []proc
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			out = append(out, proc{pid})
		}
	}
	return out, nil
}

// uidHasProcesses reports whether any process runs as the user. Zombies don't
// count, so that a parent that is slow to reap a child blocks no caller.
func uidHasProcesses(uid uint32) (bool, error) {
	all, err := allProcs()
	if err != nil {
		return false, err
	}
	for _, p := range all {
		if got, ok := p.uid(); ok && got == uid && p.alive() {
			return true, nil
		}
	}
	return false, nil
}

// territory identifies a member's processes by their working directory. The
// postmaster and all its children work in the data directory; pgapp's commands
// work in the member's directory.
type territory struct {
	dir string
	// below includes the directories below dir.
	below bool
	uid   uint32
}

// holds reports whether the process belongs to the territory. A user's own
// shell or editor in the directory has a terminal and doesn't belong; no
// process that pgapp starts has a terminal.
func (t territory) holds(p proc) bool {
	cwd, err := p.cwd()
	if err != nil || !t.covers(cwd) || p.pid == os.Getpid() {
		return false
	}
	if uid, ok := p.uid(); !ok || uid != t.uid {
		return false
	}
	state, tty := p.stat()
	return state != 'Z' && (tty == 0 || p.isServer())
}

func (t territory) covers(cwd string) bool {
	return cwd != "" && (cwd == t.dir || t.below && strings.HasPrefix(cwd, t.dir+"/"))
}

// ended reports whether a process found in the territory earlier has ended, or
// another process has its number. An exiting process loses its working
// directory before the kernel closes its files and sockets (do_exit in Linux's
// kernel/exit.c), so a missing directory alone proves nothing.
func (t territory) ended(p proc) bool {
	return !t.holds(p) && (!p.ending() || !p.alive())
}

// hidden reports whether the process may belong to the territory but can't be
// checked: a PostgreSQL of the same user whose working directory can't be read.
func (t territory) hidden(p proc) bool {
	if _, err := p.cwd(); err == nil {
		return false
	}
	if p.comm() != serverName {
		return false
	}
	uid, ok := p.uid()
	return ok && uid == t.uid
}

// scan lists the territory's processes in in, and the processes that can't be
// checked in hidden.
func (t territory) scan() (in, hidden []proc, err error) {
	all, err := allProcs()
	if err != nil {
		return nil, nil, err
	}
	for _, p := range all {
		switch {
		case t.holds(p):
			in = append(in, p)
		case t.hidden(p):
			hidden = append(hidden, p)
		}
	}
	return in, hidden, nil
}

// territory returns the territory of rel below the member's directory; an empty
// rel includes all directories below. Symbolic links in the path are resolved,
// because /proc shows resolved paths.
func (m *machine) territory(rel string) (territory, error) {
	uid, err := m.p.account.uid()
	if err != nil {
		return territory{}, err
	}
	dir, err := filepath.EvalSymlinks(m.dir)
	if missing(err) {
		if dir, err = filepath.EvalSymlinks(m.p.home); err == nil {
			dir = filepath.Join(dir, "clusters", m.cluster, m.member)
		} else {
			dir, err = m.dir, nil
		}
	}
	if err != nil {
		return territory{}, fmt.Errorf("resolving %q: %w", m.dir, err)
	}
	return territory{dir: filepath.Join(dir, rel), below: rel == "", uid: uid}, nil
}
