package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// CloneOptions describe a clone.
type CloneOptions struct {
	// Upstream is the primary. Its slot must exist and already keep WAL;
	// otherwise the primary may remove WAL that the clone needs.
	Upstream Upstream
	// Member is the standby's name.
	Member string
	// OperationID is part of the application name of the clone's sessions, by
	// which a repeat finds the sessions of a killed attempt.
	OperationID        string
	ReplicatorPassword appliance.Secret
	// SystemIdentifier is the cluster's; a primary with another one is refused.
	// If it is empty, any primary is accepted.
	SystemIdentifier string
	// Primary, if set, is used to end the sessions of a killed attempt and to
	// list the tablespaces.
	Primary *Control
	// Stall limits the time without progress; 0 means two minutes.
	Stall time.Duration
	// SyncLater skips the sync of the directory; the caller runs [SyncDataDir].
	SyncLater bool
}

const defaultStall = 2 * time.Minute

// Clone copies the primary's data directory to the member, as a standby that
// can't start before [Configure] has run. Progress is reported in bytes. Clone
// first removes the remains of a killed attempt, and repeats once after a
// failure that may be temporary. If the directory is already a standby of the
// same cluster, Clone returns at once; any other content is a
// [appliance.Problem] with id data-dir-foreign. Other failures are clone-failed.
func Clone(ctx context.Context, sh Shell, o CloneOptions, report appliance.Report) error {
	what := fmt.Sprintf("cloning member %q from %s:%d", o.Member, o.Upstream.Host, o.Upstream.Port)
	if err := writePassFile(ctx, sh, o.ReplicatorPassword); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := clearClone(ctx, sh, o); err != nil {
		return failure(appliance.ErrClone, err, "%s: removing an earlier attempt", what)
	}
	identifier, err := upstreamIdentifier(ctx, sh, o)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	done, err := alreadyCloned(ctx, sh, identifier)
	if err != nil || done {
		return err
	}
	err = cloneOnce(ctx, sh, o, report)
	if err != nil && mayPass(ctx, err) {
		if clearErr := errors.Join(clearClone(ctx, sh, o), o.renewSlot(ctx)); clearErr != nil {
			return failure(appliance.ErrClone, errors.Join(err, clearErr), "%s", what)
		}
		err = cloneOnce(ctx, sh, o, report)
	}
	if err == nil {
		err = finishClone(ctx, sh, o)
	}
	if err != nil {
		return o.lostWAL(ctx, failure(appliance.ErrClone, err, "%s", what))
	}
	return nil
}

// renewSlot recreates a slot that has lost WAL during a failed attempt. The next one would use
// it, and no WAL would be kept for it.
func (o CloneOptions) renewSlot(ctx context.Context) error {
	if o.Primary == nil || o.Upstream.Slot == "" {
		return nil
	}
	return RenewSlot(ctx, o.Primary, o.Upstream.Slot)
}

// lostWAL adds to the error of a clone what helps if its slot has lost WAL.
func (o CloneOptions) lostWAL(ctx context.Context, err error) error {
	if ctx.Err() != nil || o.Primary == nil || o.Upstream.Slot == "" {
		return err
	}
	p := appliance.AsProblem(err)
	if lost, e := SlotLost(ctx, o.Primary, o.Upstream.Slot); e != nil || !lost || p.ID != appliance.ErrClone {
		return err
	}
	return appliance.NewProblem(p.ID, "%w; the primary has removed WAL that the clone needs", err).
		WithHint(MoreWALHint).WithDetail(p.Detail)
}

// MoreWALHint is what helps where the primary removes WAL sooner than a clone streams.
const MoreWALHint = "raise the primary's max_slot_wal_keep_size, or clone while less is written"

func writePassFile(ctx context.Context, sh Shell, password appliance.Secret) error {
	data, err := renderPassFile(password)
	if err != nil {
		return err
	}
	if err := sh.WriteFile(ctx, path.Join(sh.Layout().ConfDir, PassFile), data, 0o600); err != nil {
		return failure(appliance.ErrClone, err, "writing the replicator's password file")
	}
	return nil
}

// alreadyCloned tells whether the data directory is a standby of the cluster
// with this identifier.
func alreadyCloned(ctx context.Context, sh Shell, identifier string) (bool, error) {
	d, err := InspectDataDir(ctx, sh)
	if err != nil || !d.Exists {
		return false, err
	}
	if d.Initialised && d.InRecovery && d.SystemIdentifier == identifier {
		return true, nil
	}
	return false, foreignDir(sh.Layout().DataDir)
}

func (o CloneOptions) application() string { return "pgapp-clone-" + o.Member + "-" + o.OperationID }

func (o CloneOptions) conninfo(l appliance.Layout, extra ...string) (string, error) {
	return replicationConninfo(l, o.Upstream.Host, o.Upstream.Port, o.application(), extra...)
}

// upstreamIdentifier reads the primary's system identifier over the connection
// that the clone will use, and compares it with the cluster's.
func upstreamIdentifier(ctx context.Context, sh Shell, o CloneOptions) (string, error) {
	l := sh.Layout()
	info, err := o.conninfo(l, "replication", "true")
	if err != nil {
		return "", err
	}
	res, err := sh.Run(ctx, appliance.Command{Argv: []string{
		program(l, "psql"), "-X", "-w", "-A", "-t", "-v", "VERBOSITY=terse", "-d", info, "-c", "IDENTIFY_SYSTEM",
	}})
	if err != nil {
		return "", cloneFailure(err, "reaching the primary")
	}
	got, _, _ := strings.Cut(strings.TrimSpace(string(res.Stdout)), "|")
	if o.SystemIdentifier != "" && got != o.SystemIdentifier {
		return "", appliance.NewProblem(appliance.ErrClone, "the server's system identifier is %s, and this cluster's is %s: the server belongs to another cluster", got, o.SystemIdentifier)
	}
	return got, nil
}

// cloneFailure makes a problem with the program's first error as its message.
func cloneFailure(err error, what string) error {
	var exit *appliance.ExitError
	if !errors.As(err, &exit) || appliance.HostErrorInText(exit.Stderr) != "" {
		return failure(appliance.ErrClone, err, "%s", what)
	}
	why := firstComplaint(exit.Stderr)
	if why == "" {
		return failure(appliance.ErrClone, err, "%s", what)
	}
	return appliance.NewProblem(appliance.ErrClone, "%s: %s", what, why).WithDetail(appliance.LastLines(exit.Stderr, 20))
}

// killScript kills every pg_basebackup with the argument that grep option $1
// names. A killed pg_basebackup leaves a forked child that streams WAL and has
// the same arguments. $1 begins with -e, so that grep doesn't match itself.
const killScript = `found() { grep -lzxF "$1" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3; }
n=0
while pids=$(found "$1"); [ -n "$pids" ]; do
	kill -9 $pids 2>/dev/null
	n=$((n + 1))
	[ "$n" -le 100 ] || { echo "pg_basebackup does not end: $pids" >&2; exit 1; }
	sleep 0.05
done
exit 0`

// clearClone removes the remains of a killed attempt: its processes here, its
// walsenders on the primary, which hold the slot, and the partial directory.
func clearClone(ctx context.Context, sh Shell, o CloneOptions) error {
	l := sh.Layout()
	if _, err := script(ctx, sh, killScript, "-e"+pgdataArg(l)); err != nil {
		return err
	}
	if o.Primary != nil {
		if err := o.Primary.endSessions(ctx, "pgapp-clone-"+o.Member+"-"); err != nil {
			return err
		}
	}
	return discardPartial(ctx, sh)
}

func pgdataArg(l appliance.Layout) string { return "--pgdata=" + partialData(l) }

// endSessions ends the walsenders whose application name has the prefix, and
// waits until none is left.
func (c *Control) endSessions(ctx context.Context, prefix string) error {
	const sql = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'walsender' AND starts_with(application_name, $1)`
	return wait.Until(ctx, slotPoll, func(ctx context.Context) (bool, error) {
		var n int
		err := c.row(ctx, sql, []any{prefix}, &n)
		return n == 0, err
	})
}

func cloneOnce(ctx context.Context, sh Shell, o CloneOptions, report appliance.Report) error {
	l := sh.Layout()
	if err := preparePartial(ctx, sh); err != nil {
		return err
	}
	if err := readyTablespaces(ctx, sh, o); err != nil {
		return err
	}
	info, err := o.conninfo(l)
	if err != nil {
		return err
	}
	ctx, watch := watchStall(ctx, o.Stall)
	defer watch.stop()
	argv := []string{
		program(l, "pg_basebackup"), pgdataArg(l), "--dbname=" + info, "--no-password", "--checkpoint=fast",
		"--wal-method=stream", "--progress", "--no-sync", "--no-manifest", "--label=pgapp " + o.Member,
	}
	if o.Upstream.Slot != "" {
		argv = append(argv, "--slot="+o.Upstream.Slot)
	}
	_, err = sh.Run(ctx, appliance.Command{Argv: argv, OnStderr: func(line string) {
		if p, ok := parseBackupProgress(line); ok {
			if watch.progress(p.BytesDone) && report != nil {
				report(p)
			}
		}
	}})
	if watch.stalled() {
		return appliance.NewProblem(appliance.ErrClone, "pg_basebackup made no progress for %s", watch.limit)
	}
	if err != nil {
		return cloneFailure(err, "pg_basebackup")
	}
	return nil
}

// parseBackupProgress reads a line such as "23168/23168 kB (100%), 1/1 tablespace".
func parseBackupProgress(line string) (appliance.Progress, bool) {
	m := regexp.MustCompile(`^\s*(\d+)/(\d+) kB \(`).FindStringSubmatch(line)
	if m == nil {
		return appliance.Progress{}, false
	}
	done, err := strconv.ParseInt(m[1], 10, 53)
	total, err2 := strconv.ParseInt(m[2], 10, 53)
	if err != nil || err2 != nil {
		return appliance.Progress{}, false
	}
	const kib = 1024
	return appliance.Progress{Detail: "base backup", BytesDone: done * kib, BytesTotal: max(total, done) * kib}, true
}

// stallWatch cancels a context after limit without progress.
type stallWatch struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelFunc
	fired  atomic.Bool
	last   atomic.Int64
}

func watchStall(ctx context.Context, limit time.Duration) (context.Context, *stallWatch) {
	if limit <= 0 {
		limit = defaultStall
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &stallWatch{limit: limit, cancel: cancel}
	w.last.Store(-1)
	w.timer = time.AfterFunc(limit, func() {
		w.fired.Store(true)
		cancel()
	})
	return ctx, w
}

// progress tells whether bytes has changed, and if so restarts the timer.
func (w *stallWatch) progress(bytes int64) bool {
	if w.last.Swap(bytes) == bytes {
		return false
	}
	w.timer.Reset(w.limit)
	return true
}

func (w *stallWatch) stalled() bool { return w.fired.Load() }

func (w *stallWatch) stop() {
	w.timer.Stop()
	w.cancel()
}

// mayPass tells whether the failure may be temporary.
func mayPass(ctx context.Context, err error) bool {
	p := appliance.AsProblem(err)
	if ctx.Err() != nil || p.ID != appliance.ErrClone {
		return false
	}
	text := p.Message + "\n" + p.Detail
	for _, lasting := range []string{"password authentication failed", "no pg_hba.conf entry", "pg_hba.conf rejects", "permission denied", "incompatible server version"} {
		if strings.Contains(text, lasting) {
			return false
		}
	}
	return true
}

// identityScript makes the copy in $1 a standby that can't start before
// [Configure]: the copy still has the primary's name, port and rules.
const identityScript = `set -eu
: >"$1/standby.signal"
rm -f -- "$1/pgapp.conf" "$1/recovery.signal" "$1/postmaster.opts"`

func finishClone(ctx context.Context, sh Shell, o CloneOptions) error {
	if _, err := script(ctx, sh, identityScript, partialData(sh.Layout())); err != nil {
		return err
	}
	if err := finishPartial(ctx, sh); err != nil {
		return err
	}
	if o.SyncLater {
		return nil
	}
	return SyncDataDir(ctx, sh)
}
