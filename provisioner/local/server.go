package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

const (
	// pollInterval is the time between two checks of a condition.
	pollInterval = 5 * time.Millisecond
	// maxLogSize is the size in bytes above which a start renames the old log.
	maxLogSize = 64 << 20
	// logDetail is the number of bytes of the log in an error.
	logDetail = 4 << 10
	// postmasterOOMScore keeps the kernel from choosing the postmaster when
	// memory runs out; its children reset their score (PostgreSQL documentation
	// 18.4.4).
	postmasterOOMScore = "-900"
)

// child is a postmaster that this process started.
type child struct {
	pid int
	// gone is closed when the process is reaped.
	gone chan struct{}
}

// ServerRunning reports whether a postmaster runs. Backends and files that a
// dead postmaster left behind don't count.
func (m *machine) ServerRunning(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	own, err := m.owned()
	if err != nil || own == absent {
		return false, err
	}
	if own == foreign {
		return false, foreignProblem(m.dir, m.cluster)
	}
	if !m.p.account.exists() {
		return false, nil // no process runs as a user that doesn't exist
	}
	_, ok, err := m.postmaster()
	return ok, err
}

// StartServer starts the postmaster and returns when its sockets are open.
// StartServer first kills backends of a dead postmaster, because a new
// postmaster refuses to start beside them. A repeat on a running server does
// nothing.
func (m *machine) StartServer(ctx context.Context) error {
	if err := m.requireOwn(); err != nil {
		return err
	}
	if running, err := m.ServerRunning(ctx); err != nil || running {
		return err
	}
	if err := m.refuseTablespaces(); err != nil {
		return err
	}
	if err := m.endServerProcesses(ctx); err != nil {
		return err
	}
	if err := m.clearStalePidFile(); err != nil {
		return err
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	if err := m.makeRuntime(i); err != nil {
		return err
	}
	if err := m.clearStaleSocketLocks(); err != nil {
		return err
	}
	log, err := m.openLog(i)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("finding the end of the server's log: %w", err)
	}
	c, err := m.launch(ctx, log)
	if err != nil {
		return m.launchProblem(err)
	}
	if err := m.awaitStart(ctx, c, from); err != nil {
		return err
	}
	m.p.claims.drop(m.at) // it listens there
	return nil
}

// launch starts the postmaster, which outlives this process. A goroutine reaps
// the postmaster, because PostgreSQL takes a zombie for a running server.
func (m *machine) launch(ctx context.Context, log *os.File) (*child, error) {
	lay := m.Layout()
	start := func(g *cgroup) (*exec.Cmd, error) {
		argv := m.p.cgroups.inScope(ctx, m.tag(), g, []string{filepath.Join(lay.BinDir, serverName), "-D", lay.DataDir})
		// The server must not end with the step that starts it.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, lay.DataDir
		env := map[string]string{
			"PGDATA": lay.DataDir, "PG_OOM_ADJUST_FILE": "/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE": "0",
		}
		for k, v := range m.p.cgroups.scopeEnv(g) {
			env[k] = v
		}
		if !m.shared {
			return cmd, m.startProcess(cmd, env, g)
		}
		return cmd, confined(m.serverDirs(), func() error { return m.startProcess(cmd, env, g) })
	}
	cmd, err := m.startInMemberCgroup(start)
	if err != nil {
		return nil, err
	}
	protect(cmd.Process.Pid)
	c := &child{pid: cmd.Process.Pid, gone: make(chan struct{})}
	m.p.mu.Lock()
	m.p.children[m.dir] = c
	m.p.mu.Unlock()
	go func() {
		// The log shows how the server ended. StopServer and Fence wait for the
		// channel.
		_ = cmd.Wait()
		m.p.mu.Lock()
		if m.p.children[m.dir] == c {
			delete(m.p.children, m.dir)
		}
		m.p.mu.Unlock()
		close(c.gone)
	}()
	return c, nil
}

// startInMemberCgroup starts in a new cgroup where the member's is empty: in one that was
// killed as a whole (cgroup.kill) a kernel since Linux 6.14 ends what is started there at once.
func (m *machine) startInMemberCgroup(start func(*cgroup) (*exec.Cmd, error)) (*exec.Cmd, error) {
	for _, g := range m.p.cgroups.existing(m.tag()) {
		_ = syscall.Rmdir(g.dir) // refused while anything is in it
	}
	if g, ok := m.p.cgroups.ensure(m.tag()); ok {
		cmd, err := start(&g)
		if err == nil || !refusedCgroup(err) {
			return cmd, err
		}
	}
	return start(nil)
}

// protect shields the postmaster from the kernel's out-of-memory killer. Errors
// are ignored: an ordinary user may not lower the score.
func protect(pid int) {
	_ = os.WriteFile(filepath.Join(procDir, strconv.Itoa(pid), "oom_score_adj"), []byte(postmasterOOMScore), 0)
}

// awaitStart waits until the pid file contains the child's number and a status.
// The server writes the status after it has opened its sockets, loaded
// pg_hba.conf and created its shared memory.
func (m *machine) awaitStart(ctx context.Context, c *child, logFrom int64) error {
	err := wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		select {
		case <-c.gone:
			return false, m.startProblem(logFrom)
		default:
		}
		f, ok, err := m.readPidFile()
		return ok && f.pid == c.pid && f.status != "", err
	})
	var p *appliance.Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("starting PostgreSQL of member %q: %w", m.member, err)
}

// startProblem returns the Problem for a server that ended during its start,
// with the server's messages from the log.
func (m *machine) startProblem(logFrom int64) error {
	text := m.logSince(logFrom)
	reason, id := appliance.ServerReason(text)
	return appliance.NewProblem(id, "PostgreSQL of member %s did not start: %s", m.member, reason).
		WithHint("pgapp logs %s shows its log", m.member).WithDetail(text)
}

// launchProblem returns the Problem for a program that couldn't be executed.
func (m *machine) launchProblem(err error) error {
	bin := filepath.Join(m.binDir, serverName)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return appliance.NewProblem(appliance.ErrPostgresMissing, "starting %s: %w", bin, err).
			WithHint("install PostgreSQL 17 there again, or name another with --postgres-bin")
	case errors.Is(err, os.ErrPermission):
		return appliance.NewProblem(appliance.ErrHostPermission, "user %s can't run %s: %w", m.p.account.name, bin, err).
			WithHint("let everyone enter its directories: chmod o+x DIR")
	}
	return appliance.NewProblem(appliance.ErrPostgresStart, "starting %s: %w", bin, err)
}

// StopServer sends the shutdown signal and waits until no process of the server
// is left. If ctx ends first, the error is a Problem with id
// postgres-stop-failed and the shutdown continues. A repeat does nothing.
func (m *machine) StopServer(ctx context.Context, mode appliance.StopMode) error {
	running, err := m.ServerRunning(ctx)
	if err != nil {
		return err
	}
	if !running {
		return m.endServerProcesses(ctx)
	}
	sig := syscall.SIGINT
	if mode == appliance.StopImmediate {
		sig = syscall.SIGQUIT
	}
	t, err := m.territory("data")
	if err != nil {
		return err
	}
	if pm, ok, err := m.postmaster(); err != nil {
		return err
	} else if ok {
		if err := pm.kill(sig, t.holds); err != nil {
			return err
		}
		err = wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) { return t.ended(pm), nil })
		if err != nil {
			return m.stopProblem(mode, err)
		}
	}
	if err := m.endServerProcesses(ctx); err != nil {
		return m.stopProblem(mode, err)
	}
	return nil
}

func (m *machine) stopProblem(mode appliance.StopMode, err error) error {
	return appliance.NewProblem(appliance.ErrPostgresStop, "PostgreSQL of member %s did not stop (%s): %w", m.member, mode, err).
		WithHint("pgapp logs %s shows what it waits for", m.member)
}

// endServerProcesses kills every process in the data directory, for callers that
// found no postmaster. It waits until none is left and this process's child is
// reaped, and frees the dead server's shared memory. A repeat does nothing.
func (m *machine) endServerProcesses(ctx context.Context) error {
	own, err := m.owned()
	if err != nil || own != ours || !m.p.account.exists() {
		return err
	}
	t, err := m.territory("data")
	if err != nil {
		return err
	}
	var met hunt
	err = wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		left, _, err := met.once(t)
		return len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("ending what PostgreSQL of member %q left: %w", m.member, err)
	}
	if err := m.reaped(ctx); err != nil {
		return err
	}
	return m.freeSharedMemory(ctx, memoryPatience)
}

// reaped waits until a postmaster that this process started, and that is exiting
// or a zombie, is reaped.
func (m *machine) reaped(ctx context.Context) error {
	m.p.mu.Lock()
	c := m.p.children[m.dir]
	m.p.mu.Unlock()
	if c == nil || !(proc{c.pid}).ending() {
		return nil
	}
	select {
	case <-c.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
