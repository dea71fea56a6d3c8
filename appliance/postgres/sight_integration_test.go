//go:build integration

package postgres_test

import (
	"testing"
	"time"
)

// TestReceiverOfAnIdlePrimaryAsksAfterItsTimeout has a standby hear nothing from a primary
// that is well for longer than under pgapp's own timeouts, and looks that it says so.
func TestReceiverOfAnIdlePrimaryAsksAfterItsTimeout(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	standby := c.control(t, 1, "postgres")
	for timeout, want := range map[string]time.Duration{"9500ms": 4750 * time.Millisecond, "0": 0} {
		for i := range 2 {
			c.sql(t, i, "postgres", "ALTER SYSTEM SET wal_receiver_timeout = '"+timeout+"'")
			c.sql(t, i, "postgres", "SELECT pg_reload_conf()")
		}
		waitFor(t, func() bool {
			s, err := standby.Sight(t.Context())
			must(t, err)
			return s.Asks == want
		})
	}
	for i := range 2 {
		c.sql(t, i, "postgres", "ALTER SYSTEM SET wal_receiver_timeout = '1min'")
		c.sql(t, i, "postgres", "ALTER SYSTEM SET wal_sender_timeout = '1min'")
		c.sql(t, i, "postgres", "SELECT pg_reload_conf()")
	}
	waitFor(t, func() bool {
		s, err := standby.Sight(t.Context())
		must(t, err)
		return s.Receiving && s.Asks == 30*time.Second && s.Quiet > 6*time.Second
	})
}
