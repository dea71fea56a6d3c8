package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const delayParameter = "recovery_min_apply_delay"

// ApplyDelay returns the name and the value of recovery_min_apply_delay among a
// spec's parameters. ok is false where standbys replay at once.
func ApplyDelay(parameters map[string]string) (name, value string, ok bool) {
	for name, value := range parameters {
		if strings.EqualFold(name, delayParameter) {
			return name, value, strings.ContainsAny(value, "123456789")
		}
	}
	return "", "", false
}

// Delaying tells whether a standby's replay waits for recovery_min_apply_delay to
// pass. After a start such a standby streams only when it has replayed what it has.
func (c *Control) Delaying(ctx context.Context) (bool, error) {
	var yes bool
	err := c.row(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay')", nil, &yes)
	return yes, err
}

// orDelayed adds to a standby's failure to stream that a delay may be the cause.
func (m *subject) orDelayed(v verdict) verdict {
	if !v.ok && m.err == nil && m.seen.InRecovery && m.facts.delay > 0 {
		v.detail += "; " + m.delayText() + ", and after a start it replays what it has before it streams"
	}
	return v
}

// delayed tells whether the standby replays so much later that verify can't wait
// for it.
func (m *subject) delayed() bool {
	return m.seen.InRecovery && m.facts.delay >= replayWait
}

func (m *subject) delayText() string {
	return fmt.Sprintf("%s is %s", delayParameter, m.facts.delay)
}

// replayLimit is how long the standby is waited for.
func (m *subject) replayLimit() time.Duration {
	if m.paused() || !m.seen.InRecovery || m.delayed() {
		return 0
	}
	return replayWait + m.facts.delay
}

// heldUpSQL finds the sessions that replay waits for: those that hold a lock, or
// those with a snapshot that still shows what replay would remove. The
// oldest is the first.
// pg_blocking_pids knows no startup process.
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

// heldUp names the session that holds up the standby's replay, as the end of a
// sentence; it is empty where there is none.
func (m *subject) heldUp(ctx context.Context) string {
	var pid, sessions int
	var age int64
	var user, database, state, limit string
	if err := m.admin.row(ctx, heldUpSQL, nil, &pid, &user, &database, &state, &age, &sessions, &limit); err != nil {
		return "" // no row: nothing holds it up
	}
	text := fmt.Sprintf("; replay waits for the session with pid %d of role %s in database %s, %s, whose transaction is %s old",
		pid, user, database, state, time.Duration(age)*time.Second)
	if sessions > 1 {
		text += fmt.Sprintf(", and for %d more", sessions-1)
	}
	return text + " (max_standby_streaming_delay is " + limit + ")"
}
