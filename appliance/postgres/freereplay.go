package postgres

import (
	"context"
	"fmt"

	"pgapp/appliance/wait"
)

// replayBlockedSQL tells whether replay waits for a query. A reload of the
// max_standby_*_delay parameters doesn't end such a wait, since the startup process reads
// its files between records only.
const replayBlockedSQL = `SELECT pg_is_in_recovery(), EXISTS (SELECT FROM pg_stat_activity
WHERE backend_type = 'startup' AND (wait_event_type IN ('Lock', 'BufferPin') OR wait_event LIKE 'RecoveryConflict%'))`

// endBlockersSQL ends the clients' sessions that are in a transaction.
const endBlockersSQL = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND usename NOT IN ('postgres', 'pgapp');
`

// freeReplay ends the clients' transactions that replay waits for, if any, and tells
// whether the server is still in recovery.
func freeReplay(ctx context.Context, sh Shell, port int, c *Control) (recovering bool, err error) {
	var blocked bool
	if err := askAgain(ctx, c, replayBlockedSQL, &recovering, &blocked); err != nil || !blocked {
		return recovering, err
	}
	if _, err := SuperuserSQL(ctx, sh, port, MaintenanceDatabase, endBlockersSQL); err != nil {
		return recovering, fmt.Errorf("ending the sessions that replay waits for: %w", err)
	}
	return recovering, nil
}

// WaitPromoted waits until the standby that was asked to has become a primary. It ends
// the clients' transactions that hold up its replay.
func WaitPromoted(ctx context.Context, sh Shell, port int, c *Control) error {
	return wait.Until(ctx, takePoll, func(ctx context.Context) (bool, error) {
		recovering, err := freeReplay(ctx, sh, port, c)
		return !recovering, err
	})
}
