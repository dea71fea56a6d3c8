package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const delayParameter = "recovery_min_apply_delay"

// ApplyDelay returns the name and the value of recovery_min_apply_delay in a
// spec's parameters. ok is false if standbys replay at once.
func ApplyDelay(parameters map[string]string) (name, value string, ok bool) {
	for name, value := range parameters {
		if strings.EqualFold(name, delayParameter) {
			return name, value, strings.ContainsAny(value, "123456789")
		}
	}
	return "", "", false
}

// Delaying tells whether a standby's replay waits for recovery_min_apply_delay.
// After a start such a standby streams only once it has replayed its WAL.
func (c *Control) Delaying(ctx context.Context) (bool, error) {
	var yes bool
	err := c.row(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay')", nil, &yes)
	return yes, err
}

// orDelayed adds the delay as a possible cause to a standby's failure to stream.
func (m *subject) orDelayed(v verdict) verdict {
	if !v.ok && m.err == nil && m.seen.InRecovery && m.facts.delay > 0 {
		v.detail += "; " + m.delayText() + ", and after a start the standby replays its WAL before it streams"
	}
	return v
}

// delayed tells whether the delay is too long for verify to wait.
func (m *subject) delayed() bool {
	return m.seen.InRecovery && m.facts.delay >= longestDelay
}

func (m *subject) delayText() string {
	return fmt.Sprintf("%s is %s", delayParameter, m.facts.delay)
}

// replayLimit is the time to wait for the standby's replay.
func (m *subject) replayLimit() time.Duration {
	if m.paused() || !m.seen.InRecovery || m.delayed() {
		return 0
	}
	return replayWait + m.facts.delay
}

// heldUpSQL finds the sessions for which replay waits, oldest first: those with a
// conflicting lock, or with a snapshot that shows rows which replay would remove.
// pg_blocking_pids doesn't know the startup process.
const heldUpSQL = `SELECT a.pid, coalesce(a.usename, '?'), coalesce(a.datname, '?'), a.state,
	coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::bigint, count(*) OVER (),
	current_setting('max_standby_streaming_delay')
FROM pg_stat_activity s CROSS JOIN pg_stat_activity a
WHERE s.backend_type = 'startup' AND a.pid <> s.pid AND a.pid <> pg_backend_pid() AND a.state IS NOT NULL
	AND (EXISTS (SELECT FROM pg_locks w JOIN pg_locks h
			ON (h.locktype, h.database, h.relation) IS NOT DISTINCT FROM (w.locktype, w.database, w.relation)
			WHERE w.pid = s.pid AND NOT w.granted AND h.granted AND h.pid = a.pid)
		OR (s.wait_event LIKE 'RecoveryConflict%' OR s.wait_event = 'BufferPin') AND a.xact_start IS NOT NULL AND a.backend_xmin IS NOT NULL)
ORDER BY a.xact_start LIMIT 1`

// replaySQL tells how far the standby is, and what its replay waits for.
const replaySQL = `SELECT coalesce(pg_last_wal_receive_lsn()::text, 'nothing'), coalesce(pg_last_wal_replay_lsn()::text, 'nothing'),
	coalesce((SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), 'nothing')`

// heldUp names the session that blocks the standby's replay, as the end of a
// sentence; without one it says what replay waits for.
func (m *subject) heldUp(ctx context.Context) string {
	var pid, sessions int
	var age int64
	var user, database, state, limit string
	if err := m.admin.row(ctx, heldUpSQL, nil, &pid, &user, &database, &state, &age, &sessions, &limit); err != nil { // no row: no session blocks replay
		var received, replayed, waits string
		if err := m.admin.row(ctx, replaySQL, nil, &received, &replayed, &waits); err != nil {
			return ""
		}
		return fmt.Sprintf("; it has received %s and replayed %s, and replay waits for %s", received, replayed, waits)
	}
	text := fmt.Sprintf("; replay waits for the session with pid %d of role %s in database %s, %s, whose transaction is %s old",
		pid, user, database, state, time.Duration(age)*time.Second)
	if sessions > 1 {
		text += fmt.Sprintf(", and for %d more", sessions-1)
	}
	return text + " (max_standby_streaming_delay is " + limit + ")"
}
