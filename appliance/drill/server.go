package drill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Server is a PostgreSQL server of this machine.
type Server struct {
	pid int
	// first is the server's first process, held so that no other process of that number
	// is struck.
	first *os.Process
	// dir is the data directory, in which all of the server's processes work.
	dir string
}

// FindServer finds the server by one of its lock files: postmaster.pid in the data
// directory, or that of its socket. Both begin with the first process's number and the
// data directory.
func FindServer(lock string) (Server, error) {
	text, err := os.ReadFile(lock) //nolint:gosec // a file of the cluster's
	if err != nil {
		return Server{}, fmt.Errorf("looking for the server's process: %w", err)
	}
	lines := strings.SplitN(string(text), "\n", 3)
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || len(lines) < 3 || pid <= 1 {
		return Server{}, fmt.Errorf("%s names no process", lock)
	}
	s := Server{pid: pid, dir: strings.TrimSpace(lines[1])}
	if s.first, err = os.FindProcess(pid); err != nil {
		return Server{}, fmt.Errorf("looking for the server's process: %w", err)
	}
	if !s.works(pid) { // asked after the process is held
		return Server{}, fmt.Errorf("process %d of %s does not run", pid, lock)
	}
	return s, nil
}

// PID is the number of the server's first process.
func (s Server) PID() int { return s.pid }

// works tells whether the process works in the server's data directory.
func (s Server) works(pid int) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	return err == nil && cwd == s.dir
}

// Gone tells whether the server's first process has ended.
func (s Server) Gone() bool {
	return errors.Is(s.first.Signal(syscall.Signal(0)), os.ErrProcessDone) || !s.works(s.pid)
}

// processes are all of the server's, the first one first.
func (s Server) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing the server's processes: %w", err)
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != s.pid && s.works(pid) {
			out = append(out, pid)
		}
	}
	return append([]int{s.pid}, out...), nil
}

// Strike strikes the server, and returns what takes back a fault that can be.
func (s Server) Strike(f Fault) (undo func(), err error) {
	undo = func() {}
	switch f {
	case FaultKill:
		err = s.first.Kill()
	case FaultHalt:
		undo = func() { _ = s.first.Signal(syscall.SIGCONT) } // it may have ended
		err = s.first.Signal(syscall.SIGSTOP)
	case FaultKillMember:
		err = s.all(syscall.SIGKILL)
	case FaultFreeze:
		return s.freeze()
	case FaultCut, FaultPowerOff, FaultSwitchover, FaultDaemon, FaultEndpoint, FaultRandom:
		err = fmt.Errorf("no fault of a process: %s", f)
	}
	if err != nil {
		return undo, fmt.Errorf("striking process %d: %w", s.pid, err)
	}
	return undo, nil
}

// all sends the signal to all of the server's processes.
func (s Server) all(sig syscall.Signal) error {
	pids, err := s.processes()
	if err != nil {
		return err
	}
	err = s.first.Signal(sig)
	for _, pid := range pids[1:] {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
	return err
}

// freeze freezes the server's control group if it is the server's alone, else all of its
// processes, one by one.
func (s Server) freeze() (undo func(), err error) {
	if group := s.group(); group != "" {
		set := func(to string) error {
			return os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte(to), 0) //nolint:gosec // no file is made
		}
		if err := set("1"); err == nil {
			return func() { _ = set("0") }, nil // it is gone where the member was fenced
		}
	}
	return func() { _ = s.all(syscall.SIGCONT) }, s.all(syscall.SIGSTOP)
}

// group is the directory of the server's control group, or empty if other processes share
// it.
func (s Server) group() string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid), "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(mount, path)
			procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")) //nolint:gosec // a file of the kernel's
			if err == nil && len(procs) > 0 && !slices.ContainsFunc(strings.Fields(string(procs)), s.stranger) {
				return dir
			}
		}
	}
	return ""
}

// stranger tells whether a process that runs isn't the server's.
func (s Server) stranger(number string) bool {
	pid, err := strconv.Atoi(number)
	if err != nil {
		return true
	}
	_, err = os.Readlink(filepath.Join("/proc", number, "cwd"))
	return !s.works(pid) && !errors.Is(err, os.ErrNotExist)
}
