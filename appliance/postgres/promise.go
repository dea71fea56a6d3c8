package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// PromiseInForce returns what the server's setting promises, as a session that begins
// now has it. A setting that pgapp doesn't write counts as no promise.
func (c *Control) PromiseInForce(ctx context.Context) (appliance.Promise, error) {
	var value string
	err := c.row(ctx, "SELECT current_setting('synchronous_standby_names')", nil, &value)
	return parsePromise(value), err
}

// parsePromise reads [appliance.Promise.Setting]. Every other text is no promise.
func parsePromise(value string) appliance.Promise {
	k, names, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(value, "ANY "), ")"), " (")
	p := appliance.Promise{}
	p.K, _ = strconv.Atoi(k)
	for name := range strings.SplitSeq(names, ", ") {
		p.Set = append(p.Set, strings.Trim(name, `"`))
	}
	slices.Sort(p.Set)
	if p.Setting() != value || p.K < 1 || p.K > len(p.Set) || !eachValid(p.Set) {
		return appliance.Promise{}
	}
	return p
}

// eachValid tells whether the names are of members, each once.
func eachValid(sorted []string) bool {
	for i, name := range sorted {
		if !appliance.ValidName(name) || i > 0 && sorted[i-1] == name {
			return false
		}
	}
	return true
}

const flushedSQL = `SELECT count(DISTINCT application_name) >= $2 FROM pg_stat_replication
WHERE application_name = ANY($1) AND state = 'streaming' AND flush_lsn >= $3::text::pg_lsn`

// WaitFlushed waits until k members of the set have flushed the position. The wait ends
// with ctx.
func (c *Control) WaitFlushed(ctx context.Context, set []string, k int, lsn appliance.LSN) error {
	return wait.Until(ctx, streamingPoll, func(ctx context.Context) (ok bool, err error) {
		err = c.row(ctx, flushedSQL, []any{set, k, lsn.String()}, &ok)
		return ok, err
	})
}

// underSQL tells whether no walsender that may release waiting commits is behind a
// position. A walsender has a setting of its own, which it reads before it takes the
// answer to WAL that was written after the reload.
const underSQL = `SELECT NOT coalesce(bool_or(sync_state <> 'async' AND (flush_lsn IS NULL OR flush_lsn < $1::text::pg_lsn)), false)
FROM pg_stat_replication`

// Under tells whether every commit after the position, which [Control.Mark] returned
// once the promise was in force, is acknowledged under the promise, and every one before
// it has been flushed as the promise says.
func (c *Control) Under(ctx context.Context, p appliance.Promise, at appliance.LSN) (bool, error) {
	var flushed, under bool
	if err := c.row(ctx, flushedSQL, []any{p.Set, p.K, at.String()}, &flushed); err != nil || !flushed {
		return false, err
	}
	err := c.row(ctx, underSQL, []any{at.String()}, &under)
	return under, err
}

// Mark writes a little WAL, flushes it, and returns a position behind it. WAL that is
// written after a reload shows that the walsender of a standby that has flushed it has the
// setting that was reloaded. A commit without changes would not do: PostgreSQL flushes it
// later, and the flushed position could be one of before the reload.
func (c *Control) Mark(ctx context.Context) (appliance.LSN, error) {
	if err := Write(ctx, c); err != nil {
		return 0, err
	}
	var lsn string
	if err := c.row(ctx, "SELECT pg_current_wal_flush_lsn()::text", nil, &lsn); err != nil {
		return 0, err
	}
	return appliance.ParseLSN(lsn)
}

// Enforce waits until commits wait for standbys, after the reload that named the first
// ones has reached this session. It is the checkpointer that has commits wait
// (UpdateSharedMemoryConfig in checkpointer.c), and it reads its setting before it begins a
// checkpoint. The server tells the checkpointer after the sessions
// (process_pm_reload_request in postmaster.c), and may be held up in between: a further reload
// that arrives shows that it has told all of the one before. Two, since the session may have
// the setting by a reload of before it was written, which it heeded late, and the checkpointer
// in time. Enforce returns false if the checkpoint takes longer than a session may wait.
func (c *Control) Enforce(ctx context.Context) (bool, error) {
	for range 2 {
		if err := reloaded(ctx, c, func() error { return c.Reload(ctx) }); err != nil {
			return false, err
		}
	}
	err := c.Checkpoint(ctx)
	if hasState(err, stateCanceled) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}
