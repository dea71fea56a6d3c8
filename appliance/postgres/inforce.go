package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"pgapp/appliance/wait"
)

// reloadTimeout limits the wait for a reload.
const reloadTimeout = 30 * time.Second

// ReloadAndCheckRestart makes the running server reload its files, waits until it
// has, and tells whether one of its parameters still needs a restart. c is a
// session to the same server. A repeat is safe.
func ReloadAndCheckRestart(ctx context.Context, sh Shell, port int, c *Control) (restart bool, err error) {
	if err := reloaded(ctx, c, func() error { return ReloadConfig(ctx, sh, port) }); err != nil {
		return false, err
	}
	waiting, err := WaitingForRestart(ctx, sh, port)
	return len(waiting) > 0, err
}

// reloaded has the server read its files and waits until the session has the new content.
// The server signals its sessions after it has read the files.
func reloaded(ctx context.Context, c *Control, reload func() error) error {
	const loaded = "SELECT pg_conf_load_time()"
	var before, now time.Time
	if err := c.row(ctx, loaded, nil, &before); err != nil {
		return err
	}
	if err := reload(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	if err := wait.Until(ctx, streamingPoll, func(ctx context.Context) (bool, error) {
		err := c.row(ctx, loaded, nil, &now)
		return !now.Equal(before), err // by the server's clock, which may be set
	}); err != nil {
		return fmt.Errorf("waiting for PostgreSQL to read its configuration: %w", err)
	}
	return nil
}

// waitingSQL lists the parameters that wait for a restart and are set, or were
// set before, by a file of pgapp. A parameter set by ALTER SYSTEM waits for the
// user's restart.
const waitingSQL = `SELECT s.name FROM pg_catalog.pg_settings s
LEFT JOIN LATERAL (SELECT f.sourcefile FROM pg_catalog.pg_file_settings f
	WHERE pg_catalog.lower(f.name) = pg_catalog.lower(s.name) ORDER BY f.seqno DESC LIMIT 1) f ON true
WHERE s.pending_restart AND coalesce(f.sourcefile, s.sourcefile, '') NOT LIKE '%/postgresql.auto.conf'
ORDER BY 1;
`

// WaitingForRestart lists the parameters of pgapp's files that the running
// server can apply only by a restart.
func WaitingForRestart(ctx context.Context, sh Shell, port int) ([]string, error) {
	out, err := SuperuserSQL(ctx, sh, port, MaintenanceDatabase, waitingSQL)
	if err != nil {
		return nil, fmt.Errorf("asking which parameters wait for a restart: %w", err)
	}
	return strings.Fields(out), nil
}

// readSQL tells whether the server has read its files since pgapp.conf was
// written. The file's time is in whole seconds.
const readSQL = "SELECT (pg_catalog.pg_stat_file('" + ConfFile + "')).modification < pg_catalog.pg_conf_load_time();\n"

// InForce tells whether the running server uses the configuration: pgapp.conf has
// its content, the server has read the file, and no parameter waits for a restart.
func InForce(ctx context.Context, sh Shell, c Config) (bool, error) {
	l := sh.Layout()
	want, err := renderConf(l, c)
	if err != nil {
		return false, err
	}
	have, err := sh.ReadFile(ctx, path.Join(l.DataDir, ConfFile))
	if err != nil || !bytes.Equal(have, want) {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	out, err := SuperuserSQL(ctx, sh, c.Port, MaintenanceDatabase, readSQL+waitingSQL)
	if err != nil {
		return false, fmt.Errorf("asking whether the configuration is in force: %w", err)
	}
	return out == "t", nil
}
