package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// serverVersion is the required major version of data directories.
const serverVersion = "17"

// InitOptions are the options of initdb.
type InitOptions struct {
	// Locale C.UTF-8 or "" selects PostgreSQL's builtin provider, whose collation
	// depends on no library; other locales are the operating system's.
	Locale string
	// SyncLater skips the sync of the directory; the caller runs [SyncDataDir].
	SyncLater bool
}

// DataDir is the state of a member's data directory.
type DataDir struct {
	// Exists is set if the directory exists and is not empty.
	Exists bool
	// Initialised is set if it is a complete data directory of PostgreSQL 17.
	Initialised bool
	// Foreign is set if it has any other content.
	Foreign bool
	// SystemIdentifier, Timeline and State are pg_controldata's. Timeline is
	// the highest that the directory's WAL is known to need.
	SystemIdentifier string
	Timeline         uint32
	State            string
	// Ended is the position of a clean shutdown's checkpoint, 0 without one.
	Ended appliance.LSN
	// InRecovery is set if standby.signal makes the server start as a standby.
	InRecovery bool
	// Running is set if postmaster.pid exists: a server runs, or was killed.
	Running bool
	// Backup is set if it is a base backup that no server has started from.
	Backup bool
	// Limits are the minimum values of a standby's parameters.
	Limits Limits
}

// ControlFile is what pg_control says (pg_control.h).
type ControlFile struct {
	SystemIdentifier string
	// Closed is set if the last server was shut down cleanly.
	Closed bool
}

// The layout of pg_control of PostgreSQL 17, whose states are an enumeration.
const (
	controlPath    = "global/pg_control"
	controlVersion = 1700
	// controlCRCAt is the checksum's place, which covers all before it.
	controlCRCAt                         = 288
	controlVersionAt, controlStateAt     = 8, 16
	stateShutdown, stateShutdownRecovery = 1, 2
)

// ReadControlFile reads pg_control without a program on the member's machine, which takes
// a moment that a failover doesn't have. It fails for a directory that isn't PostgreSQL
// 17's, and while a server writes the file.
func ReadControlFile(ctx context.Context, sh Shell) (ControlFile, error) {
	b, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, controlPath))
	if err != nil {
		return ControlFile{}, fmt.Errorf("reading pg_control: %w", err)
	}
	return parseControlFile(b)
}

func parseControlFile(b []byte) (ControlFile, error) {
	number := binary.LittleEndian.Uint32
	switch {
	case len(b) < controlCRCAt+4:
		return ControlFile{}, fmt.Errorf("pg_control has %d bytes only", len(b))
	case number(b[controlVersionAt:]) != controlVersion:
		return ControlFile{}, fmt.Errorf("pg_control is of version %d and not %d", number(b[controlVersionAt:]), controlVersion)
	case crc32.Checksum(b[:controlCRCAt], crc32.MakeTable(crc32.Castagnoli)) != number(b[controlCRCAt:]):
		return ControlFile{}, errors.New("pg_control's checksum is wrong")
	}
	state := number(b[controlStateAt:])
	return ControlFile{
		SystemIdentifier: strconv.FormatUint(binary.LittleEndian.Uint64(b), 10),
		Closed:           state == stateShutdown || state == stateShutdownRecovery,
	}, nil
}

// Wrote tells whether the directory's last server was no standby: it took writes.
func (d DataDir) Wrote() bool {
	return !d.Backup && slices.Contains([]string{"in production", "shutting down", "shut down", "in crash recovery"}, d.State)
}

// Written tells whether the directory is one of a server that took writes and was not
// shut down.
func (d DataDir) Written() bool { return d.State == "in production" }

// Unpromoted tells whether the directory's last server was a standby that had begun to become
// a primary: standby.signal is gone before pg_control and the new timeline say so (xlog.c,
// StartupXLOG). A start would recover it as a crashed primary, on the timeline of the old one.
// [MarkStandby] has it start as a standby, which can be promoted again.
func (d DataDir) Unpromoted() bool {
	return d.Initialised && !d.InRecovery && !d.Backup && slices.Contains([]string{"in archive recovery", "shut down in recovery"}, d.State)
}

// inspectScript inspects the data directory $1 with pg_controldata $2. The shell
// does the rest itself, since each program started costs more.
const inspectScript = `d=$1
[ -e "$d" ] || { echo absent; exit 0; }
v=
[ -f "$d/PG_VERSION" ] && read -r v <"$d/PG_VERSION"
if [ "$v" != "$3" ] || [ ! -f "$d/global/pg_control" ]; then
	if [ -d "$d" ] && [ -z "$(ls -A -- "$d")" ]; then echo absent; else echo foreign; fi
	exit 0
fi
[ -e "$d/standby.signal" ] && echo standby
[ -e "$d/postmaster.pid" ] && echo running
[ -e "$d/backup_label" ] && echo backup
exec "$2" -D "$d"`

// Essential are the directories in a data directory without which a server has no data. One
// that lacks global, with pg_control in it, is no data directory to [InspectDataDir].
func Essential() []string { return []string{"base", "pg_xact"} }

// missingScript names the first directory of the others that $1 lacks.
const missingScript = `for d in "$@"; do [ "$d" = "$1" ] || [ -d "$1/$d" ] || { echo "$d"; exit; }; done`

// Missing names one of the [Essential] directories that the member's data directory lacks,
// or nothing.
func Missing(ctx context.Context, sh Shell) (string, error) {
	dir := sh.Layout().DataDir
	out, err := script(ctx, sh, missingScript, append([]string{dir}, Essential()...)...)
	if err != nil {
		return "", fmt.Errorf("looking at %s: %w", dir, err)
	}
	return strings.TrimSpace(out), nil
}

// InspectDataDir observes the data directory and changes nothing. A damaged
// pg_control is a [appliance.Problem] with id data-dir-foreign.
func InspectDataDir(ctx context.Context, sh Shell) (DataDir, error) {
	l := sh.Layout()
	out, err := script(ctx, sh, inspectScript, l.DataDir, program(l, "pg_controldata"), serverVersion)
	if err != nil {
		return DataDir{}, failure(appliance.ErrDataDirForeign, err, "inspecting data directory %s", l.DataDir)
	}
	return parseInspection(l.DataDir, out)
}

func parseInspection(dir, out string) (DataDir, error) {
	switch out {
	case "absent":
		return DataDir{}, nil
	case "foreign":
		return DataDir{Exists: true, Foreign: true}, nil
	}
	d := DataDir{Exists: true, Initialised: true}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "standby":
			d.InRecovery = true
		case line == "running":
			d.Running = true
		case line == "backup":
			d.Backup = true
		case strings.HasPrefix(line, "WARNING:"):
			return DataDir{Exists: true, Foreign: true}, appliance.NewProblem(appliance.ErrDataDirForeign,
				"data directory %s is damaged: pg_control's checksum is wrong", dir).
				WithHint("clone this member again with 'pgapp reinit'")
		case d.Limits.set(key, value):
		case key == "Database system identifier":
			d.SystemIdentifier = value
		case key == "Database cluster state":
			d.State = value
		case key == "Latest checkpoint location":
			at, err := appliance.ParseLSN(value)
			if err != nil {
				return DataDir{}, fmt.Errorf("reading pg_controldata's %q: %w", line, err)
			}
			d.Ended = at
		case key == "Latest checkpoint's TimeLineID", key == "Min recovery ending loc's timeline":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return DataDir{}, fmt.Errorf("reading pg_controldata's %q: %w", line, err)
			}
			d.Timeline = max(d.Timeline, uint32(n))
		}
	}
	if d.State != "shut down" {
		d.Ended = 0
	}
	if d.SystemIdentifier == "" {
		return DataDir{}, fmt.Errorf("reading pg_controldata's output for %s: no system identifier in it", dir)
	}
	return d, nil
}

// Initdb makes the data directory of a new cluster, with checksums and the
// superuser postgres, who can't log in before [Configure] has run. If the
// directory is initialised, Initdb returns at once; any other content is a
// [appliance.Problem] with id data-dir-foreign.
func Initdb(ctx context.Context, sh Shell, o InitOptions) error {
	l := sh.Layout()
	d, err := InspectDataDir(ctx, sh)
	if err != nil {
		return err
	}
	if d.Foreign {
		return foreignDir(l.DataDir)
	}
	if d.Initialised {
		return nil
	}
	what := "making data directory " + l.DataDir
	if err := preparePartial(ctx, sh); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	_, err = sh.Run(ctx, appliance.Command{
		Argv: initdbArgs(l, o),
		// Otherwise initdb searches the time zone database for /etc/localtime.
		Env: map[string]string{"TZ": "UTC"},
	})
	if err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	if err := finishPartial(ctx, sh); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	if o.SyncLater {
		return nil
	}
	return SyncDataDir(ctx, sh)
}

func initdbArgs(l appliance.Layout, o InitOptions) []string {
	argv := []string{
		program(l, "initdb"), "--pgdata=" + partialData(l), "--username=" + RoleSuperuser, "--auth=reject",
		"--data-checksums", "--no-sync", "--no-instructions", "--encoding=UTF8",
	}
	if builtinLocale(o.Locale) {
		return append(argv, "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	return append(argv, "--locale="+o.Locale, "--locale-provider=libc")
}

func builtinLocale(locale string) bool {
	return locale == "" || locale == appliance.DefaultLocale || locale == "C.utf8"
}

func foreignDir(dir string) error {
	return appliance.NewProblem(appliance.ErrDataDirForeign, "data directory %s contains files, but is not a data directory that pgapp made for PostgreSQL %s", dir, serverVersion).
		WithHint("move it away, then run the same command again")
}

// SyncDataDir makes the data directory and its name durable. The server may run.
func SyncDataDir(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	// One syncfs(2) replaces initdb's fsync of each of 1300 files, each of which
	// is a commit of a journaling file system.
	if _, err := sh.Run(ctx, appliance.Command{Argv: []string{"sync", "-f", "--", l.DataDir}}); err != nil {
		return failure(appliance.ErrPostgresStart, err, "writing data directory %s to disk", l.DataDir)
	}
	return nil
}

// RemoveDataDir removes a stopped member's data directory, the remains of an
// unfinished clone and a directory that a clone has replaced; on a machine of its
// own, the content of its tablespaces too. It refuses a directory that is not
// PostgreSQL 17's or that a running server uses. A repeat does nothing.
func RemoveDataDir(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	d, err := InspectDataDir(ctx, sh)
	if err != nil && !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
		return err
	}
	if d.Foreign && err == nil {
		return foreignDir(l.DataDir)
	}
	return removeDataDir(ctx, sh, asideDir(l))
}

func removeDataDir(ctx context.Context, sh Shell, aside string) error {
	l := sh.Layout()
	// On a shared machine the tablespaces are also the primary's.
	shared := "shared"
	if _, own := sh.(appliance.DirMaker); own {
		shared = ""
	}
	if _, err := script(ctx, sh, removeScript, l.DataDir, partialDir(l), shared, aside); err != nil {
		return failure(appliance.ErrPostgresStop, err, "removing data directory %s", l.DataDir)
	}
	return nil
}

// removeScript moves the data directory $1 into the partial directory $2 and
// removes it there, so that a kill never leaves half a data directory. It clears
// the tablespaces unless $3 is set, which means that others share them. $4 is an
// older data directory that a clone has replaced, empty to keep it. The script waits for the script of
// a killed daemon that still does the same.
const removeScript = `set -eu
exec 9<"${1%/*}"
flock 9
if [ -e "$1/postmaster.pid" ]; then
	pid=$(head -n 1 -- "$1/postmaster.pid")
	if [ "/proc/$pid/cwd" -ef "$1" ]; then echo "a server with process id $pid runs on $1" >&2; exit 1; fi
fi
if [ -e "$2" ] && [ ! -f "$2/.pgapp" ]; then rmdir -- "$2"; fi
if [ ! -e "$2" ]; then
	mkdir -m 0700 -- "$2"
	: >"$2/.pgapp"
fi
p=$2
` + clearListed + `gone() {
	d=$p/data
	if [ -z "$3" ]; then
		` + clearLinked + `	fi
	rm -rf -- "$d"
}
gone "$@"
if [ -e "$1" ]; then
	mv -T -- "$1" "$p/data"
	gone "$@"
fi
rm -f -- "$p/.tablespaces" "$p/.pgapp"
rmdir -- "$p"
p=$4
[ -n "$p" ] || exit 0
` + dropAside
