package postgres

import (
	"context"
	"time"
)

// Write has the server write a message to its WAL and flush it. The message belongs to
// no transaction, so it waits for this server's disk alone and for no standby, takes no
// lock, and leaves no dead row (documentation 9.28.6). A server in recovery refuses it.
func Write(ctx context.Context, c *Control) error {
	return c.exec(ctx, `SELECT pg_logical_emit_message(false, 'pgapp', '', true)`)
}

// WriteStandby has a server in recovery write to its disk and flush it: PostgreSQL makes
// a temporary slot as a file, and removes it.
func WriteStandby(ctx context.Context, c *Control) error {
	if err := c.exec(ctx, `SELECT pg_create_physical_replication_slot('pgapp_write', false, true)`); err != nil {
		return err
	}
	return c.exec(ctx, `SELECT pg_drop_replication_slot('pgapp_write')`)
}

// PID is the server's process of the session.
func PID(c *Control) uint32 { return c.conn.PgConn().PID() }

// Working tells what another session of the server waits for and how long its query has
// run. It is empty for a session that has no query.
func Working(ctx context.Context, c *Control, pid uint32) (waits string, since time.Duration, err error) {
	var seconds float64
	err = c.row(ctx, `SELECT coalesce(max(coalesce(wait_event_type || ' ' || wait_event, 'nothing')), ''),
	coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)::float8
FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`, []any{int32(pid)}, &waits, &seconds) //nolint:gosec // a process's number
	return waits, time.Duration(seconds * float64(time.Second)), err
}
