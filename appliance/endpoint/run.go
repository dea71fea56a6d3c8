package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Config is what the process is started with.
type Config struct {
	// Home is the directory of pgapp's state, absolute.
	Home string
	// Build identifies the program.
	Build string
	// Log gets a line for each change.
	Log io.Writer
}

const (
	// takeOver bounds the wait for an earlier process's sockets.
	takeOver = 10 * time.Second
	// checkHomeEvery is how often it is looked whether the home is still there.
	checkHomeEvery = 5 * time.Second
	// memoryAim is the size of the heap from which the collector works harder.
	memoryAim = 16 << 20
)

// Run serves the endpoints of the home until ctx ends, a client stops the process, or a
// newer process has taken over and the connections have ended. It starts with the state
// of the earlier process or of the home's file. If a process of the same build serves
// the home, Run returns without an error.
func Run(ctx context.Context, cfg Config) error {
	debug.SetMemoryLimit(memoryAim)
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // a relay's thread keeps one while it waits shortly
	ready := openReady()
	defer func() { _ = ready.Close() }()
	log := slog.New(slog.NewTextHandler(cfg.Log, nil)).With("pid", os.Getpid())
	leaveGroup(cfg.Home)
	dir, err := os.Open(cfg.Home) // before anybody knows of the process, as it may be removed at once
	if err != nil {
		return fmt.Errorf("opening the home: %w", err)
	}
	s, k, err := begin(ctx, cfg, log, ready)
	if err != nil || s == nil {
		_ = writeMessage(ready, answer{Problem: asProblem(err)})
		return err
	}
	log.Info("endpoints", "build", cfg.Build, "number", s.held.Number)
	_ = writeMessage(ready, answer{Status: s.fullStatus()})
	_ = ready.Close()
	go s.endWithHome(dir)
	cause := s.ended()
	s.shut()
	k.close()
	s.wait()
	switch {
	case errors.Is(cause, errStopped):
		removeFiles(cfg.Home)
	case errors.Is(cause, errHomeRemoved):
		takeGroupAway(cfg.Home)
	}
	log.Info("ended", "cause", cause)
	return nil
}

// begin makes the server and its control socket, with what an earlier process hands
// over. It returns no server if a process of the same build serves the home.
func begin(ctx context.Context, cfg Config, log *slog.Logger, ready *os.File) (*server, *control, error) {
	lock, in, err := obtain(ctx, cfg)
	if err != nil || lock == nil {
		return nil, nil, err
	}
	file, routes, err := openState(cfg.Home)
	if err != nil {
		return nil, nil, err
	}
	s, err := newServer(ctx, log, cfg.Build, file)
	if err != nil {
		return nil, nil, err
	}
	if in != nil {
		routes, s.inherited = in.Routes, in.listeners
	}
	first, err := readRoutes()
	if err != nil {
		return nil, nil, err
	}
	if in == nil && first.Number > 0 {
		// The starter waits and knows the record. The file's number may be of another clock.
		first.Number = max(first.Number, routes.Number+1)
	}
	if first.Number > routes.Number {
		if err := file.write(first); err != nil {
			return nil, nil, err
		}
		routes = first
	}
	k, err := takeUp(ctx, cfg.Home, lock, ready)
	if err != nil {
		return nil, nil, err
	}
	s.take(routes)
	s.disinherit()
	if in != nil {
		s.accepted(in)
		s.tell(routes)
	}
	k.s = s
	k.serve()
	return s, k, nil
}

// takeUp makes the control socket, unless nobody waits for the process any more. Whoever
// gives a start up to change the primary does so before he kills the process that he finds
// at the socket: so either this process finds that it was given up, or it is killed.
func takeUp(ctx context.Context, home string, lock, ready *os.File) (*control, error) {
	given := errors.New("who started this process has ended or given up: the state may be older than the record by now")
	if abandoned(ready) { // an earlier process goes on
		return nil, given
	}
	k, err := listenControl(ctx, home)
	if err != nil {
		return nil, err
	}
	if abandoned(ready) {
		return nil, errors.Join(given, k.listener.Close())
	}
	k.lock = lock
	return k, nil
}

// obtain gets the home's lock: the free one, or that of an earlier process with all it
// hands over. It returns no lock if a process of the same build serves the home.
func obtain(ctx context.Context, cfg Config) (lock *os.File, in *inheritance, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, takeOver,
		appliance.NewProblem(appliance.ErrTimeout, "the earlier endpoint process did not hand over within %s", takeOver))
	defer cancel()
	err = wait.Until(ctx, again, func(ctx context.Context) (bool, error) {
		lock, err = tryLock(cfg.Home)
		if lock != nil || err != nil {
			return true, err
		}
		st, err := Client{Home: cfg.Home}.Status(ctx)
		if err == nil && st.Build == cfg.Build {
			return true, nil
		}
		if err == nil {
			in, err = inherit(ctx, cfg.Home)
		}
		if errors.Is(err, ErrNotRunning) { // it ended, or has not begun to answer
			return false, nil
		}
		if err == nil {
			lock = in.lock
		}
		return true, err
	})
	return lock, in, err
}

// tryLock takes the home's lock. It returns nil if another process holds the lock.
func tryLock(home string) (*os.File, error) {
	path := filepath.Join(home, LockName)
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the endpoints' lock: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		// A process that stops removes the file.
		mine, mineErr := lock.Stat()
		there, thereErr := os.Stat(path)
		if mineErr == nil && thereErr == nil && os.SameFile(mine, there) {
			return lock, nil
		}
	}
	_ = lock.Close()
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("taking the endpoints' lock: %w", err)
	}
	return nil, nil // the lock is another's
}

// endWithHome ends the process once its home has been removed: nobody can reach it or stop it
// any more. A home that was moved counts as there, since servers in it go on.
func (s *server) endWithHome(dir *os.File) {
	defer func() { _ = dir.Close() }()
	tick := time.NewTicker(checkHomeEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.done.Done():
			return
		case <-tick.C:
		}
		var at unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &at); err == nil && at.Nlink == 0 {
			s.endWork(errHomeRemoved)
			return
		}
	}
}

// shut closes the listeners, cuts all connections and ends the earlier processes.
func (s *server) shut() {
	s.mu.Lock()
	for _, e := range s.endpoints {
		e.end()
	}
	s.mu.Unlock()
	s.stopEarlier()
}

// removeFiles removes what the process has made in the home.
func removeFiles(home string) {
	for _, name := range []string{SocketName, StateName, LogName, LockName} {
		_ = os.Remove(filepath.Join(home, name))
	}
}

// readRoutes reads the state that the starting process has passed.
func readRoutes() (routes appliance.Routes, err error) {
	fd, err := strconv.Atoi(os.Getenv(routesEnv))
	if err != nil {
		return routes, nil
	}
	f := os.NewFile(uintptr(fd), "routes")
	defer func() { _ = f.Close() }()
	if err := json.NewDecoder(f).Decode(&routes); err != nil {
		return routes, fmt.Errorf("reading the routes to start with: %w", err)
	}
	return routes, nil
}

// abandoned tells whether nobody waits any more for the process that starts. A daemon that
// finds no process takes that for proof that nothing leads anywhere, and may have changed
// the primary since.
func abandoned(ready *os.File) bool {
	raw, err := ready.SyscallConn()
	if err != nil { // started by hand
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0 // pipe(7): no reader is left
	})
	return err == nil && gone
}

// openReady opens the descriptor that the starting process waits at.
func openReady() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	if err != nil {
		fd = -1
	}
	return os.NewFile(uintptr(fd), "ready")
}
