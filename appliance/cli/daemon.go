package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
	"pgapp/appliance/wait"
)

const (
	// pollEvery is the pause between two attempts to reach a starting daemon.
	pollEvery = 20 * time.Millisecond
	// daemonTimeout bounds a daemon's start and its end.
	daemonTimeout = 30 * time.Second
	// respawnEvery is the pause between two starts of a daemon while the home is
	// locked by a process that doesn't answer.
	respawnEvery = 300 * time.Millisecond
	// lostGrace is how long a daemon that is lost during an operation may take to
	// come back, as when another build's client restarts it.
	lostGrace = time.Second
)

// link is how commands reach the daemon of a home: where its socket is, and how it
// is started.
type link struct {
	screen
	home   string
	listen string
	tls    tlsFiles
}

// client connects to the daemon, and starts it where it does not run. A
// daemon of another build is restarted first; the cluster runs on.
func (l *link) client(ctx context.Context) (*api.Client, error) {
	c := api.NewUnixClient(filepath.Join(l.home, home.Socket))
	c.OnLost = l.revive(c)
	info, err := c.Info(ctx)
	switch {
	case err == nil && info.Build == program.BuildID():
		return c, nil
	case err == nil:
		l.note("restarting the daemon: it is version %s, this is %s", info.Version, program.Version())
		if err := stopDaemon(ctx, c, info.PID); err != nil {
			return nil, err
		}
	case !appliance.IsProblem(err, appliance.ErrDaemonUnreachable):
		return nil, err
	}
	return c, l.startDaemon(ctx, c)
}

// revive starts the daemon again if it is lost while its client waits for an
// operation. No other process may ever start it.
func (l *link) revive(c *api.Client) func(context.Context) error {
	var lost time.Time
	return func(ctx context.Context) error {
		now := time.Now()
		switch {
		case now.Sub(lost) > daemonTimeout:
			lost = now
		case now.Sub(lost) > lostGrace:
			lost = time.Time{}
			l.note("the daemon is gone: starting it again")
			return l.startDaemon(ctx, c)
		}
		return nil
	}
}

// running connects to the daemon only if there is one.
func (l *link) running(ctx context.Context) (*api.Client, appliance.Info, error) {
	c := api.NewUnixClient(filepath.Join(l.home, home.Socket))
	info, err := c.Info(ctx)
	return c, info, err
}

// stopDaemon asks the daemon to end and waits until its process has gone.
func stopDaemon(ctx context.Context, c *api.Client, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if err := c.Shutdown(ctx); err != nil && !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) {
		return err
	}
	if err := wait.Until(ctx, pollEvery, func(context.Context) (bool, error) { return ended(pid), nil }); err != nil {
		return appliance.NewProblem(appliance.ErrTimeout, "the daemon (process %d) did not stop within %s", pid, daemonTimeout)
	}
	return nil
}

// ended tells whether the process is gone or a zombie: the first
// process of a container may never reap zombies.
func ended(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// The state follows the name, which is in parentheses and may contain one.
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return err == nil && bytes.HasPrefix(state, []byte("Z"))
}

// startDaemon starts `pgapp serve` in the background. When two clients do so
// at once, one daemon finds the home locked, and its client uses the other's.
// A daemon that was killed may hold the lock until the kernel has removed it.
func (l *link) startDaemon(ctx context.Context, c *api.Client) error {
	if err := home.Make(l.home); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	_, keyErr := os.Lstat(filepath.Join(l.home, home.BackupKey))
	var locked error
	var next time.Time
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(respawnEvery)
			err := l.spawn(ctx)
			if err == nil && errors.Is(keyErr, os.ErrNotExist) {
				l.note("pgapp backs up its state to %s; keep the key elsewhere: pgapp state key", filepath.Join(l.home, home.BackupsDir))
			}
			if !appliance.IsProblem(err, appliance.ErrHomeLocked) {
				return true, err
			}
			locked = err
		}
		_, err := c.Info(ctx)
		return err == nil, nil
	})
	if err != nil && locked != nil && ctx.Err() != nil {
		return locked
	}
	return err
}

// spawn starts the daemon and waits until it reports that it is ready.
func (l *link) spawn(ctx context.Context) error {
	self, err := program.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	defer func() { _ = r.Close() }()
	args := append([]string{"serve", "--home", l.home}, l.listenArgs()...)
	// The daemon outlives this command: its context must not end it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(daemonEnv(), program.ReadyEnv)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	go func() { _ = cmd.Wait() }() // a drill or a demo lives on, and would keep a killed daemon as a zombie
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	return program.ReadReady(r, filepath.Join(l.home, home.Log))
}

// daemonEnv is the part of the environment that the daemon gets: the daemon works
// the same whichever command starts it.
func daemonEnv() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	for _, k := range []string{"HOME", "USER", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "TZ", "TMPDIR", "PGAPP_LISTEN", "GOCOVERDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}
