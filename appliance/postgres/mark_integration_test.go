//go:build integration

package postgres_test

import (
	"testing"

	"pgapp/appliance"
)

// TestMarkIsBehindWALOfItsOwn marks the WAL of a quiet primary: the position is behind WAL
// that was written since the call, else it would prove nothing of what was reloaded before.
func TestMarkIsBehindWALOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	ctl := c.control(t, 0, "postgres")
	for i := range 20 {
		before, err := appliance.ParseLSN(c.sql(t, 0, "postgres", "SELECT pg_current_wal_insert_lsn()"))
		must(t, err)
		at, err := ctl.Mark(t.Context())
		must(t, err)
		if at <= before {
			t.Errorf("mark %d is %s, and the WAL ended at %s before it", i, at, before)
		}
	}
}
