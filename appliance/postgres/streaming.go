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

// WaitStreaming waits until every named standby streams from the primary.
// Where ctx's deadline comes first, the error is a [appliance.Problem] with id
// replication-failed that names those that don't, and what they do.
func WaitStreaming(ctx context.Context, primary *Control, names []string) error {
	var missing []string
	err := wait.Until(ctx, streamingPoll, func(ctx context.Context) (bool, error) {
		rows, err := primary.Replication(ctx)
		if err != nil {
			return false, err
		}
		missing = notStreaming(rows, names)
		return len(missing) == 0, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return appliance.NewProblem(appliance.ErrReplication, "not streaming from the primary in time: %s: %w", strings.Join(missing, ", "), err).
			WithHint("the log of the member says why: 'pgapp logs MEMBER'")
	}
	return failure(appliance.ErrReplication, err, "waiting for %s to stream from the primary", strings.Join(names, ", "))
}

const replayedSQL = `SELECT count(DISTINCT application_name) FROM pg_stat_replication
WHERE application_name = ANY($1) AND state = 'streaming' AND replay_lsn >= $2::text::pg_lsn`

// WaitReplayed waits until every named standby shows what the primary holds
// now, roles and their passwords included. A standby whose replay is paused
// never does: give ctx a deadline.
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

// notStreaming lists the names that don't stream, with what they do instead.
func notStreaming(rows []appliance.ReplicationRow, names []string) []string {
	state := map[string]string{}
	for _, r := range rows {
		if state[r.ApplicationName] != "streaming" {
			state[r.ApplicationName] = r.State
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
