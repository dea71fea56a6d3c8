package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
)

const (
	// rewindPassFile is the password file of role rewind, in Layout.ConfDir, for the
	// time of a rewind.
	rewindPassFile = "pgpass-rewind"
	// rewindMarker in Layout.ConfDir means that a rewind has begun. The data directory
	// may be half of each server's, and must not be started.
	rewindMarker = "rewinding"
	// rewindStall bounds the time without progress, such as that of the target's own
	// crash recovery.
	rewindStall = 5 * time.Minute
)

// RewindOptions describe a rewind.
type RewindOptions struct {
	// Source is the new primary.
	Source Upstream
	// Member is the name of the member whose data directory is rewound.
	Member string
	// Password is role rewind's.
	Password appliance.Secret
	// Stall limits the time without progress; 0 means five minutes.
	Stall time.Duration
}

// Rewind makes a stopped member's data directory one of the source's by pg_rewind,
// which also recovers a directory that was not shut down cleanly. The result is a
// standby that can't start before [Configure] has run. After an error, or a kill, the
// directory is of no use, and [RewindBegan] says so until [RewindEnded].
// Errors are a [appliance.Problem] with id rewind-failed.
func Rewind(ctx context.Context, sh Shell, o RewindOptions, report appliance.Report) error {
	what := fmt.Sprintf("rewinding member %q to %s:%d", o.Member, o.Source.Host, o.Source.Port)
	l := sh.Layout()
	line, err := passfileField(o.Password.Reveal())
	if err != nil || line == "" { // the error would quote the password
		return appliance.NewProblem(appliance.ErrRewind, "%s: the password of role rewind can't be written to a password file", what)
	}
	pass := path.Join(l.ConfDir, rewindPassFile)
	if err := sh.WriteFile(ctx, pass, []byte("*:*:*:"+RoleRewind+":"+line+"\n"), 0o600); err != nil {
		return failure(appliance.ErrRewind, err, "%s: writing the password file", what)
	}
	defer func() { _ = removeFiles(context.WithoutCancel(ctx), sh, []string{pass}) }() // it is written anew each time
	if err := sh.WriteFile(ctx, path.Join(l.ConfDir, rewindMarker), nil, 0o600); err != nil {
		return failure(appliance.ErrRewind, err, "%s: noting that it begins", what)
	}
	if err := runRewind(ctx, sh, o, pass, report); err != nil {
		return failure(appliance.ErrRewind, err, "%s", what)
	}
	if _, err := script(ctx, sh, identityScript, l.DataDir); err != nil {
		return failure(appliance.ErrRewind, err, "%s", what)
	}
	return SyncDataDir(ctx, sh)
}

// RewindBegan tells whether a rewind of the member's data directory has begun.
func RewindBegan(ctx context.Context, sh Shell) (bool, error) {
	_, err := sh.ReadFile(ctx, path.Join(sh.Layout().ConfDir, rewindMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// RewindEnded forgets a rewind: it has succeeded, or its data directory is gone. A
// repeat does nothing.
func RewindEnded(ctx context.Context, sh Shell) error {
	if err := removeFiles(ctx, sh, []string{path.Join(sh.Layout().ConfDir, rewindMarker)}); err != nil {
		return failure(appliance.ErrRewind, err, "noting that a rewind has ended")
	}
	return nil
}

// noRewind is pg_rewind's message if it sees no divergence.
const noRewind = "no rewind required"

func runRewind(ctx context.Context, sh Shell, o RewindOptions, pass string, report appliance.Report) error {
	l := sh.Layout()
	source, err := conninfo("host", o.Source.Host, "port", strconv.Itoa(o.Source.Port), "user", RoleRewind,
		"dbname", MaintenanceDatabase, "passfile", pass, "require_auth", "scram-sha-256", "gssencmode", "disable",
		"connect_timeout", "10", "tcp_user_timeout", "10000", "application_name", "pgapp-rewind-"+o.Member)
	if err != nil {
		return err
	}
	if err := KillRewind(ctx, sh); err != nil {
		return err
	}
	// With the signal file, pg_rewind's own recovery of the directory is refused.
	signals := []string{path.Join(l.DataDir, "standby.signal"), path.Join(l.DataDir, "recovery.signal")}
	if err := removeFiles(ctx, sh, signals); err != nil {
		return err
	}
	stall := o.Stall
	if stall <= 0 {
		stall = rewindStall
	}
	run, watch := watchStall(ctx, stall)
	defer watch.stop()
	unneeded, lines := false, int64(0)
	_, err = sh.Run(run, appliance.Command{
		Argv: []string{program(l, "pg_rewind"), targetArg(l), "--source-server=" + source, "--progress", "--no-sync"},
		Env:  map[string]string{"PGOPTIONS": "-c statement_timeout=0"},
		OnStderr: func(line string) {
			lines++
			watch.progress(lines)
			unneeded = unneeded || strings.Contains(line, noRewind)
			if p, ok := parseBackupProgress(line); ok && report != nil {
				p.Detail = "rewind"
				report(p)
			}
		},
	})
	switch {
	case watch.stalled():
		return appliance.NewProblem(appliance.ErrRewind, "pg_rewind made no progress for %s", watch.limit)
	case err != nil:
		return rewindFailure(err)
	case unneeded:
		return appliance.NewProblem(appliance.ErrRewind, "pg_rewind sees no difference where there is one")
	}
	return nil
}

// rewindFailure makes a problem with the program's first error as its message.
func rewindFailure(err error) error {
	var exit *appliance.ExitError
	if !errors.As(err, &exit) || appliance.HostErrorInText(exit.Stderr) != "" {
		return err
	}
	why := firstComplaint(exit.Stderr)
	if why == "" {
		return err
	}
	return appliance.NewProblem(appliance.ErrRewind, "pg_rewind: %s", why).WithDetail(appliance.LastLines(exit.Stderr, 20))
}

func targetArg(l appliance.Layout) string { return "--target-pgdata=" + l.DataDir }

// killRewindScript kills every pg_rewind with the argument that grep option $1 names,
// and the servers in single-user mode that pg_rewind has started on directory $2.
const killRewindScript = `found() {
	grep -lzxF "$1" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3
	for f in $(grep -lzxF -e--single /proc/[0-9]*/cmdline 2>/dev/null); do
		if grep -qzxF -e "$2" "$f" 2>/dev/null; then echo "$f" | cut -d / -f 3; fi
	done
}
n=0
while pids=$(found "$1" "$2"); [ -n "$pids" ]; do
	kill -9 $pids 2>/dev/null
	n=$((n + 1))
	[ "$n" -le 100 ] || { echo "pg_rewind does not end: $pids" >&2; exit 1; }
	sleep 0.05
done
exit 0`

// KillRewind ends a rewind of the member's data directory that a killed daemon has
// left.
func KillRewind(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	if _, err := script(ctx, sh, killRewindScript, "-e"+targetArg(l), l.DataDir); err != nil {
		return failure(appliance.ErrRewind, err, "ending an earlier rewind")
	}
	return nil
}
