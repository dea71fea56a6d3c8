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
	// pollInterval is how often the world is looked at while waiting for it.
	pollInterval = 5 * time.Millisecond
	// maxLogSize is where a server's log is set aside at its next start.
	maxLogSize = 64 << 20
	// logDetail is how much of the log an error shows.
	logDetail = 4 << 10
	// postmasterOOMScore keeps the kernel from choosing the postmaster when
	// memory runs out; its children set theirs back (documentation 18.4.4).
	postmasterOOMScore = "-900"
)

// child is a postmaster that this process started.
type child struct {
	pid int
	// gone is closed when the process has been reaped.
	gone chan struct{}
}

// ServerRunning observes whether there is a postmaster. What a dead one left
// behind does not count.
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
		return false, nil // nothing can run as a user that isn't there
	}
	_, ok, err := m.postmaster()
	return ok, err
}

// StartServer starts the postmaster and returns when it holds its sockets.
// What a dead postmaster left running is ended first: a new one refuses to
// start beside it. A repeat on a running server does nothing.
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
	return m.awaitStart(ctx, c, from)
}

// launch starts the postmaster so that it outlives this process. A goroutine
// reaps it, since PostgreSQL takes a zombie for a running server.
func (m *machine) launch(ctx context.Context, log *os.File) (*child, error) {
	lay := m.Layout()
	start := func(g *cgroup) (*exec.Cmd, error) {
		argv := m.p.inScope(ctx, m.tag(), g, []string{filepath.Join(lay.BinDir, serverName), "-D", lay.DataDir})
		// The server must not end with the step that starts it.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, lay.DataDir
		env := map[string]string{
			"PGDATA": lay.DataDir, "PG_OOM_ADJUST_FILE": "/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE": "0",
		}
		for k, v := range m.p.scopeEnv(g) {
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
		// How it ended stands in its log. The channel joins this goroutine to
		// whoever stops or fences the server.
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

func (m *machine) startInMemberCgroup(start func(*cgroup) (*exec.Cmd, error)) (*exec.Cmd, error) {
	if g, ok := m.p.cgroups.ensure(m.tag()); ok {
		cmd, err := start(&g)
		if err == nil || !refusedCgroup(err) {
			return cmd, err
		}
	}
	return start(nil)
}

// protect shields the postmaster from the kernel's out-of-memory killer where
// we may; without the right to it there is nothing to do.
func protect(pid int) {
	_ = os.WriteFile(filepath.Join(procDir, strconv.Itoa(pid), "oom_score_adj"), []byte(postmasterOOMScore), 0)
}

// awaitStart waits until the pid file is the child's and says a state, which
// it does when sockets, rules and shared memory are there.
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

// startProblem explains a server that ended at once, by its own words.
func (m *machine) startProblem(logFrom int64) error {
	text := m.logSince(logFrom)
	reason, id := appliance.ServerReason(text)
	return appliance.NewProblem(id, "PostgreSQL of member %s did not start: %s", m.member, reason).
		WithHint("pgapp logs %s shows its log", m.member).WithDetail(text)
}

// launchProblem explains a program that could not be started at all.
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

// StopServer sends the shutdown signal and waits until no process of the
// server is left. When ctx ends first the error is a Problem with id
// postgres-stop-failed, and the shutdown goes on. A repeat does nothing.
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

// endServerProcesses kills what is in the data directory without a
// postmaster, waits until nothing is and our own child is reaped, and frees
// the memory that a killed server can't.
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

// reaped waits until the postmaster that this process started, if it is ending
// or a zombie, is gone.
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
