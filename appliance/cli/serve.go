package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/natefinch/lumberjack.v2"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/store"
)

// The daemon's log is rotated at this size, and so many old ones are kept.
const (
	logMegabytes = 10
	logBackups   = 3
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground. It is the only process that opens the state;
all other commands are clients of its API and start it in the background if it
does not run. Its end changes nothing for the cluster.

--listen ADDRESS:PORT also serves the API to other machines, always with TLS and
to tokens only. The certificate is --tls-cert with --tls-key, read again when it
changes; without them one is made by a CA in the home, and renewed by itself.
'pgapp info' then names the file with that CA, for curl --cacert.`,
		Example: `  pgapp serve --listen 0.0.0.0:8432
  pgapp serve --listen db.example.org:8432 --tls-cert fullchain.pem --tls-key privkey.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			closeInherited(keptFD())
			err := a.serve(cmd.Context())
			if err != nil {
				tellReady(appliance.AsProblem(err))
			}
			return err
		},
	}
}

// serve runs the daemon until ctx ends or a client asks it to.
func (a *app) serve(ctx context.Context) error {
	if _, err := a.givenCertificate(nil); err != nil {
		return err // before anything is made or opened
	}
	if err := makeHome(a.home); err != nil {
		return err
	}
	if err := checkHomeOwner(a.home, os.Geteuid()); err != nil {
		return err
	}
	if err := clearPostgresEnv(); err != nil {
		return err
	}
	lock, err := store.Lock(a.home)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	logFile := &lumberjack.Logger{Filename: filepath.Join(a.home, logName), MaxSize: logMegabytes, MaxBackups: logBackups}
	defer func() { _ = logFile.Close() }()
	log := a.logger(logFile)
	for again := true; again && err == nil; {
		again, err = a.serveState(ctx, lock, log)
	}
	return err
}

// serveState serves the state as it is now, until ctx ends or a client asks it
// to end; again is set where the state was replaced, so that all begins anew.
func (a *app) serveState(ctx context.Context, lock *store.HomeLock, log *slog.Logger) (again bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l, err := a.openListeners(ctx, log)
	if err != nil {
		return false, err
	}
	defer l.close()
	info := appliance.Info{
		URL: l.url(), Socket: filepath.Join(a.home, socketName), PID: os.Getpid(),
		Home: a.home, Version: version, Build: buildID(), Mode: "normal",
		CAFile: l.caFile(),
	}
	d, err := a.compose(ctx, lock, info, log)
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
	}
	tellReady(nil)
	err = api.New(d.api).Serve(ctx, l.unix, l.tcp)
	log.Info("daemon stopped")
	return d.again.Load(), err
}

// clearPostgresEnv takes libpq's variables out of the daemon's environment:
// its own sessions go where the records say.
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

// logger writes JSON lines to the daemon's log, and readable ones to standard
// error where a person started it.
func (a *app) logger(file io.Writer) *slog.Logger {
	h := slog.Handler(slog.NewJSONHandler(file, nil))
	if os.Getenv(readyEnv) == "" {
		h = slog.NewMultiHandler(h, slog.NewTextHandler(a.Err, nil))
	}
	return slog.New(h)
}
