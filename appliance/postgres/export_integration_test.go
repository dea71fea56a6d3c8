//go:build integration

package postgres

import "context"

// Exec lets the tests run a statement in a session of [ConnectAs].
func (c *Control) Exec(ctx context.Context, sql string) error { return c.exec(ctx, sql) }

func (c *Control) CommittedSince(ctx context.Context, snapshot string) (bool, error) {
	return c.committedSince(ctx, snapshot)
}
