package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// procDir is where the kernel shows processes.
const procDir = "/proc"

// serverName is what PostgreSQL's program is called.
const serverName = "postgres"

// proc is one process, by what /proc says of it.
type proc struct{ pid int }

func (p proc) path(name string) string { return filepath.Join(procDir, strconv.Itoa(p.pid), name) }

// cwd is the process's working directory. It is empty for a process that has
// ended, a zombie among them.
func (p proc) cwd() (string, error) {
	link, err := os.Readlink(p.path("cwd"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", nil
	}
	return strings.TrimSuffix(link, " (deleted)"), err
}

// ending tells whether the process has begun to end. It may have ended.
func (p proc) ending() bool {
	cwd, err := p.cwd()
	return err == nil && cwd == ""
}

// uid is the process's effective user.
func (p proc) uid() (uint32, bool) {
	status, err := os.ReadFile(p.path("status"))
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

// stat returns the state letter and the controlling terminal's number.
func (p proc) stat() (state byte, tty int) {
	data, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return 0, 0
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const stateField, ttyField = 0, 4
	if len(fields) <= ttyField {
		return 0, 0
	}
	tty, _ = strconv.Atoi(string(fields[ttyField]))
	return fields[stateField][0], tty
}

func (p proc) comm() string {
	data, _ := os.ReadFile(p.path("comm"))
	return strings.TrimSpace(string(data))
}

// isServer tells whether the process runs PostgreSQL's program. The program's
// file may have been replaced by an upgrade.
func (p proc) isServer() bool {
	exe, err := os.Readlink(p.path("exe"))
	if err != nil {
		return p.comm() == serverName
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == serverName || p.comm() == serverName
}

// isPostmaster tells the postmaster from its children, which all show a title
// that begins with "postgres: ".
func (p proc) isPostmaster() bool {
	title, err := os.ReadFile(p.path("cmdline"))
	return err == nil && p.isServer() && len(title) > 0 && !bytes.HasPrefix(title, []byte(serverName+": "))
}

// alive tells whether the process exists and hasn't ended.
func (p proc) alive() bool {
	state, _ := p.stat()
	return state != 0 && state != 'Z' && state != 'X'
}

// kill sends the signal if the process still is what still says. The process
// is held by a pidfd meanwhile, so that its number can't have been given away.
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

// allProcs lists every process that is visible.
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

// uidHasProcesses tells whether any process runs as that user. Zombies don't
// run: whose parent is slow to reap them must not hold anything up.
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

// territory is a directory whose processes are a member's: the postmaster and
// all its children work in the data directory, and what pgapp runs for a
// member in the member's.
type territory struct {
	dir string
	// below takes in the directories below as well.
	below bool
	uid   uint32
}

// holds tells whether the process belongs there. A user's own shell or editor
// that happens to stand there has a terminal, which nothing of ours has.
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

// ended tells whether a process that the territory held is gone, or its number
// another's. One that is ending leaves its directory before the kernel closes
// its files, so that its sockets may still be taken (do_exit in Linux's
// kernel/exit.c).
func (t territory) ended(p proc) bool {
	return !t.holds(p) && (!p.ending() || !p.alive())
}

// hidden tells whether the process may belong there without our being able to
// see it: a PostgreSQL of the same user whose directory can't be read.
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

// scan lists the territory's processes, and those that can't be told.
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

// territory is resolved, since the kernel shows directories without links.
func (m *machine) territory(rel string) (territory, error) {
	i, err := m.p.account.lookup()
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
	return territory{dir: filepath.Join(dir, rel), below: rel == "", uid: i.uid}, nil
}
