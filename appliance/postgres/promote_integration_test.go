//go:build integration

package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestPromoteAfterABegunTimeline has what is left of a new primary that died while it sent the
// first segment of its timeline: PostgreSQL alone ends in a PANIC then, or promotes itself
// without commits that it has.
func TestPromoteAfterABegunTimeline(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"all replayed", "replay held up", "killed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paused, killed := name == "replay held up", name == "killed"
			c := newPrimary(t)
			c.load(t)
			c.addStandby(t)
			m := c.addStandby(t)
			if paused {
				c.sql(t, 2, "postgres", "SELECT pg_wal_replay_pause()")
				waitFor(t, func() bool { return c.sql(t, 2, "postgres", "SELECT pg_get_wal_replay_pause_state()") == "paused" })
			}
			c.sql(t, 0, "postgres", "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000), true)")
			c.sql(t, 0, "films", "INSERT INTO payment VALUES (-3, '2022-06-06')")
			c.members[0].stop(t)
			end, err := postgres.EndOfWAL(t.Context(), c.members[0])
			must(t, err)
			waitFor(t, func() bool {
				got, err := appliance.ParseLSN(c.sql(t, 2, "postgres", "SELECT pg_last_wal_receive_lsn()"))
				return err == nil && got >= end.At
			})
			c.promote(t, 1)
			c.sql(t, 1, "films", "INSERT INTO payment VALUES (-4, '2022-06-06')")
			c.members[1].stopWith(t, syscall.SIGKILL)
			begun := filepath.Join(m.layout.DataDir, "pg_wal", walFile(2, end.At))
			segment, err := os.ReadFile(filepath.Join(c.members[1].layout.DataDir, "pg_wal", walFile(2, end.At)))
			must(t, err)
			clear(segment[128<<10:]) // a walsender's message
			must(t, os.WriteFile(begun, segment, 0o600))
			m.chown(t, begun)
			history, err := os.ReadFile(filepath.Join(c.members[1].layout.DataDir, "pg_wal", "00000002.history"))
			must(t, err)
			told := filepath.Join(m.layout.DataDir, "pg_wal", "00000002.history")
			must(t, os.WriteFile(told, history, 0o600))
			m.chown(t, told)
			if !paused {
				waitFor(t, func() bool { return strings.Contains(m.log(), "new target timeline is 2") })
			}
			if killed {
				m.stopWith(t, syscall.SIGKILL)
				must(t, postgres.Uncover(t.Context(), m))
				must(t, postgres.Uncover(t.Context(), m)) // a repeat
				m.start(t)
			}
			s := c.control(t, 2, "postgres")
			must(t, postgres.Promote(t.Context(), m, s))
			waitFor(t, func() bool { return c.sql(t, 2, "postgres", "SELECT pg_is_in_recovery()") == "f" })
			must(t, postgres.Promote(t.Context(), m, s)) // a repeat
			if got := c.sql(t, 2, "films", "SELECT string_agg(x::text, ' ') FROM (SELECT * FROM payment) p(x) WHERE x < 0"); got != "-3" {
				t.Errorf("rows %q, want the one that the primary had", got)
			}
		})
	}
}

// TestUncoverLeavesOthersAlone has a directory without WAL, as a disk that is lost leaves it.
func TestUncoverLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	m.stop(t)
	wal := filepath.Join(m.layout.DataDir, "pg_wal")
	must(t, os.Rename(wal, wal+".away"))
	must(t, postgres.Uncover(t.Context(), m))
	must(t, os.Rename(wal+".away", wal))
	must(t, postgres.Uncover(t.Context(), m))
	m.start(t)
}
