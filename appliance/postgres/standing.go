package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Standing is what a change of primary asks a member.
type Standing struct {
	InRecovery       bool
	SystemIdentifier string
	// Timeline is a primary's. A standby's is asked by [ReplayTimeline].
	Timeline uint32
	// Received and Replayed are a standby's positions. A restart loses the received
	// one. A primary has its flushed position in both.
	Received, Replayed appliance.LSN
	// Receiving is set while a receiver process runs; Upstream is the last end of WAL
	// that the upstream has told it.
	Receiving bool
	Upstream  appliance.LSN
	// Waits is set while a standby waits for more WAL than it has. Before, its WAL may
	// reach further than both positions.
	Waits bool
	// PauseState is pg_get_wal_replay_pause_state's, empty on a primary.
	PauseState string
	// Limits are the server's parameters that a standby needs.
	Limits Limits
}

// standingSQL finds out first whether the standby waits and receives, and then its
// positions, since replay goes on meanwhile. In the other order a position from before
// replay ended would go with a wait from after it, and count as the end of the WAL.
const standingSQL = `WITH w AS MATERIALIZED (SELECT EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'startup' AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) AS waits)
SELECT pg_is_in_recovery(), s.system_identifier::text,
	CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn()::text, '') ELSE pg_current_wal_flush_lsn()::text END,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn()::text, '') ELSE pg_current_wal_flush_lsn()::text END,
	r.pid IS NOT NULL, coalesce(r.latest_end_lsn::text, ''),
	w.waits,
	CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE '' END,
	current_setting('max_connections')::int, current_setting('max_worker_processes')::int,
	current_setting('max_prepared_transactions')::int, current_setting('max_locks_per_transaction')::int
FROM pg_control_system() s CROSS JOIN w LEFT JOIN pg_stat_wal_receiver r ON true`

// Standing asks the server.
func (c *Control) Standing(ctx context.Context) (Standing, error) {
	var s Standing
	var timeline int64
	var received, replayed, upstream string
	err := askAgain(ctx, c, standingSQL, &s.InRecovery, &s.SystemIdentifier, &timeline, &received, &replayed, &s.Receiving, &upstream,
		&s.Waits, &s.PauseState, &s.Limits[0], &s.Limits[1], &s.Limits[2], &s.Limits[3])
	if err != nil {
		return s, err
	}
	s.Timeline = uint32(timeline) // #nosec G115 -- eight hexadecimal digits
	var e1, e2, e3 error
	s.Received, e1 = appliance.ParseLSN(received)
	s.Replayed, e2 = appliance.ParseLSN(replayed)
	s.Upstream, e3 = appliance.ParseLSN(upstream)
	return s, errors.Join(e1, e2, e3)
}

// Below names the first parameter in which l is below o; it is empty if there is none.
func (l Limits) Below(o Limits) string {
	for i, name := range limitNames() {
		if l[i] < o[i] {
			return name
		}
	}
	return ""
}

// ReplayTimeline asks a standby, in a replication session, for the timeline that it
// replays: functions of SQL know it only up to the last restartpoint (documentation
// 53.4, IDENTIFY_SYSTEM).
func ReplayTimeline(ctx context.Context, host string, port int, password appliance.Secret) (uint32, error) {
	r, err := ConnectReplication(ctx, host, port, password)
	if err != nil {
		return 0, err
	}
	defer r.Close(ctx)
	return r.ReplayTimeline(ctx)
}

// Replication is a replication session, for questions that no other session answers. It is
// not safe for concurrent use, and a context that ends during a question ends it too.
type Replication struct {
	conn    *pgconn.PgConn
	address string
}

// ConnectReplication opens a session. Errors are [Connect]'s.
func ConnectReplication(ctx context.Context, host string, port int, password appliance.Secret) (*Replication, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 user=" + RoleReplicator + " sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("preparing a session to %s: %w", address, err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password = host, uint16(port), RoleReplicator, password.Reveal() // #nosec G115 -- a port
	cfg.TLSConfig, cfg.Fallbacks, cfg.ConnectTimeout, cfg.RequireAuth = nil, nil, connectTimeout, "scram-sha-256"
	cfg.RuntimeParams = map[string]string{"replication": "true", "application_name": "pgapp"}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectFailure(ctx, address, RoleReplicator, err)
	}
	return &Replication{conn: conn, address: address}, nil
}

// Close ends the session. A repeat does nothing.
func (r *Replication) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = r.conn.Close(ctx) // all results were read
}

// ReplayTimeline is as the function of this name.
func (r *Replication) ReplayTimeline(ctx context.Context) (uint32, error) {
	row, err := r.ask(ctx, "IDENTIFY_SYSTEM")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(row[1]), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("asking PostgreSQL at %s for its timeline: %w", r.address, err)
	}
	return uint32(n), nil
}

// AskLine is [ReadLine] in a replication session to the server, which needs no command on
// the member's machine.
func AskLine(ctx context.Context, host string, port int, password appliance.Secret, timeline uint32) (appliance.Line, error) {
	if timeline == 1 { // it has no history
		return appliance.Line{Timeline: timeline}, nil
	}
	r, err := ConnectReplication(ctx, host, port, password)
	if err != nil {
		return appliance.Line{}, err
	}
	defer r.Close(ctx)
	row, err := r.ask(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline))
	if err != nil {
		return appliance.Line{}, err
	}
	return newLine(timeline, parseHistory(string(row[1])))
}

// ask returns the row of two columns or more that answers a command.
func (r *Replication) ask(ctx context.Context, command string) ([][]byte, error) {
	results, err := r.conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("asking PostgreSQL at %s for its timeline: %w", r.address, serverError(err))
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 2 {
		return nil, fmt.Errorf("asking PostgreSQL at %s for its timeline: no answer", r.address)
	}
	return results[0].Rows[0], nil
}

// ReadLine reads the ends of the timeline's ancestors on the member.
func ReadLine(ctx context.Context, sh Shell, timeline uint32) (appliance.Line, error) {
	ancestors, err := TimelineHistory(ctx, sh, timeline)
	if err != nil {
		return appliance.Line{}, err
	}
	return newLine(timeline, ancestors)
}

// newLine is the line that ends in the timeline.
func newLine(timeline uint32, ancestors []Ancestor) (appliance.Line, error) {
	l := appliance.Line{Timeline: timeline}
	for _, a := range ancestors {
		at, err := appliance.ParseLSN(a.End)
		if err != nil {
			return l, fmt.Errorf("reading the history of timeline %d: %w", timeline, err)
		}
		l.Ancestors = append(l.Ancestors, appliance.Switch{Timeline: a.Timeline, At: at})
	}
	return l, nil
}

const (
	detachPoll  = 10 * time.Millisecond
	detachLimit = 5 * time.Second
)

// Detach ends the standby's receiver and keeps it from starting again, until
// [Follow]. It returns when no receiver runs. A repeat is safe.
func Detach(ctx context.Context, sh Shell, conf Config, c *Control) error {
	conf.Apart = true
	if err := reconfigure(ctx, sh, conf, c.Reload); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	return wait.Until(ctx, detachPoll, func(ctx context.Context) (bool, error) {
		s, err := c.Standing(ctx)
		return !s.Receiving, err
	})
}

// markScript makes standby.signal in the data directory $1, durably, if it is one.
const markScript = `set -eu
[ -e "$1/PG_VERSION" ] || exit 0
umask 077
[ -e "$1/standby.signal" ] || : >"$1/standby.signal"
sync -- "$1/standby.signal" "$1"`

// MarkStandby has the stopped member's next start be a standby's. It does nothing if
// the directory is no data directory. A repeat is safe. It is one command, since a
// switchover waits for it.
func MarkStandby(ctx context.Context, sh Shell) error {
	if _, own := sh.(appliance.DirMaker); !own {
		return markHere(ctx, sh)
	}
	if _, err := script(ctx, sh, markScript, sh.Layout().DataDir); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "writing standby.signal")
	}
	return nil
}

// markHere is MarkStandby without a command, where the files are on this machine: a change of
// primary waits for it, while clients without a primary take the processors.
func markHere(ctx context.Context, sh Shell) error {
	dir := sh.Layout().DataDir
	_, err := sh.ReadFile(ctx, path.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil { // again where it is there: it may not be on the disk yet
		err = sh.WriteFile(ctx, path.Join(dir, "standby.signal"), nil, 0o600)
	}
	if err != nil {
		return failure(appliance.ErrPostgresConfig, err, "writing standby.signal")
	}
	return nil
}

// BackingUp tells whether the server sends a base backup.
func (c *Control) BackingUp(ctx context.Context) (is bool, err error) {
	err = c.row(ctx, "SELECT EXISTS (SELECT FROM pg_stat_progress_basebackup)", nil, &is)
	return is, err
}

// EndStuckWalsenders ends the walsenders whose standby has not flushed the position. A
// fast stop would wait for them.
func (c *Control) EndStuckWalsenders(ctx context.Context, position appliance.LSN) error {
	return c.exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_replication
WHERE coalesce(flush_lsn, '0/0') < $1::text::pg_lsn`, position.String())
}

// PrepareSlots makes the slots that don't exist. They keep no WAL before a standby has
// used them. A standby needs no reservation for followers that come at its promotion.
func (c *Control) PrepareSlots(ctx context.Context, names []string) error {
	err := c.exec(ctx, `SELECT pg_create_physical_replication_slot(n, false) FROM unnest($1::text[]) n
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = n)`, names)
	if err != nil && !hasState(err, stateDuplicate) {
		return fmt.Errorf("making replication slots: %w", err)
	}
	return nil
}
