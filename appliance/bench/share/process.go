package share

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const procDir = "/proc"

// process identifies a process for as long as the machine runs: its number alone is
// given to another process later.
type process struct {
	pid int
	// start is the start time in clock ticks since the machine's start.
	start uint64
}

// ticksPerSecond is the unit of the times in /proc, the same on every architecture
// that Go runs on.
const ticksPerSecond = 100

// stat is what /proc/PID/stat says.
type stat struct {
	process
	state  byte
	parent int
	// ticks is the time that the process and the children it has reaped have used.
	ticks uint64
}

// parseStat parses /proc/PID/stat (proc_pid_stat(5)). The name, in parentheses,
// may contain spaces and parentheses.
func parseStat(text []byte) (stat, error) {
	bad := fmt.Errorf("no line of /proc/PID/stat: %q", text)
	head, _, found := bytes.Cut(text, []byte(" ("))
	end := bytes.LastIndexByte(text, ')')
	if !found || end < 0 {
		return stat{}, bad
	}
	const stateField, parentField, firstTime, times, startField = 0, 1, 11, 4, 19
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= startField {
		return stat{}, bad
	}
	var s stat
	var errs [4]error
	s.state = fields[stateField][0]
	s.pid, errs[0] = strconv.Atoi(string(head))
	s.parent, errs[1] = strconv.Atoi(string(fields[parentField]))
	s.start, errs[2] = strconv.ParseUint(string(fields[startField]), 10, 64)
	for _, f := range fields[firstTime : firstTime+times] { // utime, stime, cutime, cstime
		n, err := strconv.ParseUint(string(f), 10, 63)
		s.ticks, errs[3] = s.ticks+n, errors.Join(errs[3], err)
	}
	if errors.Join(errs[:]...) != nil {
		return stat{}, bad
	}
	return s, nil
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(filepath.Join(procDir, strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, fmt.Errorf("reading the state of process %d: %w", pid, err)
	}
	return parseStat(text)
}

// runs tells whether the process hasn't ended. A zombie has ended.
func (p process) runs() bool {
	s, err := readStat(p.pid)
	return err == nil && s.process == p && s.state != 'Z' && s.state != 'X'
}

// tree lists the process and all its descendants, the process first. It is empty
// where the process has ended.
func (p process) tree() ([]stat, error) {
	entries, err := os.ReadDir(procDir)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	below := map[int][]stat{}
	var out []stat
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.process == p {
			out = append(out, s)
		}
		below[s.parent] = append(below[s.parent], s)
	}
	for i := 0; i < len(out); i++ { // out grows by the children of each
		out = append(out, below[out[i].pid]...)
	}
	return out, nil
}

// gone tells whether err says that a process or a group has ended meanwhile.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENODEV)
}
