package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

const streamingPoll = 10 * time.Millisecond

// writtenSQL is the end of the primary's WAL, or 0/0 if the server is in recovery.
const writtenSQL = "SELECT CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_flush_lsn()::text END"

// WaitStreaming waits until every named standby streams from the primary. If
// ctx's deadline passes first, the error is a [appliance.Problem] with id
// replication-failed that lists the other standbys with their states.
//
// A standby that comes from the timeline before a promotion is shown as streaming for a
// moment at the end of that timeline, and then connects again. So a standby counts only
// when it has been sent what the primary had when the wait began.
func WaitStreaming(ctx context.Context, primary *Control, names []string) error {
	return WaitStreamingOf(ctx, primary, func(context.Context) ([]string, error) { return names, nil })
}

// WaitStreamingOf is [WaitStreaming] for standbys that are asked for at each look, since one
// may no longer have to stream.
func WaitStreamingOf(ctx context.Context, primary *Control, wanted func(ctx context.Context) ([]string, error)) error {
	var at string
	var names, missing []string
	err := wait.Until(ctx, streamingPoll, func(ctx context.Context) (done bool, err error) {
		if names, err = wanted(ctx); err != nil {
			return false, err
		}
		if at == "" {
			if err := primary.row(ctx, writtenSQL, nil, &at); err != nil {
				return false, err
			}
		}
		rows, err := primary.Replication(ctx)
		if err != nil {
			return false, err
		}
		missing = notStreaming(rows, names, at)
		return len(missing) == 0, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return appliance.NewProblem(appliance.ErrReplication, "not streaming from the primary in time: %s: %w", strings.Join(missing, ", "), err).
			WithHint("see the member's log for the reason: 'pgapp logs MEMBER'")
	}
	return failure(appliance.ErrReplication, err, "waiting for %s to stream from the primary", strings.Join(names, ", "))
}

const replayedSQL = `SELECT count(DISTINCT application_name) FROM pg_stat_replication
WHERE application_name = ANY($1) AND state = 'streaming' AND replay_lsn >= $2::text::pg_lsn`

// WaitReplayed waits until every named standby has replayed the primary's present
// state, roles and their passwords included. A standby with paused replay never
// does, so ctx needs a deadline.
func WaitReplayed(ctx context.Context, primary *Control, names []string) error {
	var lsn string
	if err := primary.row(ctx, "SELECT pg_current_wal_flush_lsn()::text", nil, &lsn); err != nil {
		return err
	}
	return wait.Until(ctx, streamingPoll, func(ctx context.Context) (bool, error) {
		var n int
		err := primary.row(ctx, replayedSQL, []any{names, lsn}, &n)
		return n == len(names), err
	})
}

// notStreaming lists the standbys that don't stream, or have not been sent the WAL up to
// the position at, with their states.
func notStreaming(rows []appliance.ReplicationRow, names []string, at string) []string {
	state := map[string]string{}
	for _, r := range rows {
		s := r.State
		if s == "streaming" && LSNAfter(at, r.SentLSN) {
			s = "catchup"
		}
		if state[r.ApplicationName] != "streaming" {
			state[r.ApplicationName] = s
		}
	}
	var missing []string
	for _, n := range names {
		switch s := state[n]; s {
		case "streaming":
		case "":
			missing = append(missing, n+" (not connected)")
		default:
			missing = append(missing, n+" ("+s+")")
		}
	}
	return missing
}
