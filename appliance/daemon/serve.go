package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/ha/watch"
	"pgapp/appliance/home"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/program"
	"pgapp/appliance/routing"
	"pgapp/store"
)

// The daemon's log is rotated at this size, and so many old ones are kept.
const (
	logMegabytes = 10
	logBackups   = 3
)

// server is a process that serves one home.
type server struct {
	program.Serving
	assets Assets
	// loops are what the supervisor runs while the state is open.
	loops func(*statebackup.Loop, supervise.Signal, *watch.Watcher, *routing.Router) []supervise.Loop
	// embedded is the program's template, opened at its first use. It may be nil.
	embedded func() *template.Template
}

// Serve runs the daemon until ctx ends or a client asks it to. A client that
// started this process is told how the start went.
func (a Assets) Serve(ctx context.Context, what program.Serving) error {
	closeInherited(program.ReadyDescriptor())
	s := &server{Serving: what, assets: a, loops: stateLoops}
	s.embedded = sync.OnceValue(func() *template.Template { return openTemplate(s.treeArchive()) })
	err := s.serve(ctx)
	if err != nil {
		program.TellReady(appliance.AsProblem(err))
	}
	return err
}

func (s *server) serve(ctx context.Context) error {
	if _, err := s.givenCertificate(nil); err != nil {
		return err // before anything is made or opened
	}
	if err := home.Make(s.Home); err != nil {
		return err
	}
	if err := checkHomeOwner(s.Home, os.Geteuid()); err != nil {
		return err
	}
	if err := clearPostgresEnv(); err != nil {
		return err
	}
	lock, err := store.Lock(s.Home)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	logFile := &lumberjack.Logger{Filename: filepath.Join(s.Home, home.Log), MaxSize: logMegabytes, MaxBackups: logBackups}
	defer func() { _ = logFile.Close() }()
	log := s.logger(logFile)
	for again := true; again && err == nil; {
		again, err = s.serveState(ctx, lock, log)
	}
	return err
}

// serveState serves the state as it is now, until ctx ends or a client asks it
// to end. With again the state was replaced and is to be served next.
func (s *server) serveState(ctx context.Context, lock *store.HomeLock, log *slog.Logger) (again bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	stop := func() { end(nil) }
	defer stop()
	l, err := s.openListeners(ctx, log)
	if err != nil {
		return false, err
	}
	defer l.close()
	info := appliance.Info{
		URL: l.url(), Socket: filepath.Join(s.Home, home.Socket), PID: os.Getpid(),
		Home: s.Home, Version: program.Version(), Build: program.BuildID(), Mode: "normal",
		CAFile: l.caFile(),
	}
	d, err := s.compose(ctx, lock, info, log)
	if err != nil {
		return false, err
	}
	defer d.close()
	l.configure(&d.api)
	d.api.Shutdown, d.stop = stop, stop
	log.Info("daemon started", "pid", info.PID, "version", info.Version, "url", info.URL, "mode", d.info.Mode)
	if d.control != nil {
		if err := d.control.Recover(ctx); err != nil {
			log.Error("going on where the last daemon stopped", "error", err)
		}
		d.recovered()
	}
	program.TellReady(nil)
	go endWithHome(ctx, lock, end)
	err = api.New(d.api).Serve(ctx, l.unix, l.tcp)
	if lost := context.Cause(ctx); appliance.IsProblem(lost, appliance.ErrHomeUnusable) {
		log.Error("daemon stopped", "error", lost)
		return false, lost
	}
	log.Info("daemon stopped")
	return d.again.Load(), err
}

// clearPostgresEnv removes libpq's variables from the daemon's environment, so that
// the daemon's sessions go where the records say.
func clearPostgresEnv() error {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGAPP_") {
			if err := os.Unsetenv(name); err != nil {
				return fmt.Errorf("clearing %s from the environment: %w", name, err)
			}
		}
	}
	return nil
}

// logger writes JSON lines to the daemon's log, and readable lines to standard error
// if a person started the daemon.
func (s *server) logger(file io.Writer) *slog.Logger {
	h := slog.Handler(slog.NewJSONHandler(file, nil))
	if !program.Awaited() {
		h = slog.NewMultiHandler(h, slog.NewTextHandler(s.Err, nil))
	}
	return slog.New(h)
}
