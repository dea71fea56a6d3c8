//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// follow has member i stream from member p, as Configure and a start do.
func (c *cluster) follow(t *testing.T, i, p int) {
	t.Helper()
	m := c.members[i]
	cfg := c.config(i)
	cfg.Primary = &postgres.Upstream{Host: c.members[p].host, Port: c.members[p].port, Slot: name(i)}
	must(t, postgres.Configure(t.Context(), m, cfg))
	m.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := postgres.WaitStreaming(ctx, c.control(t, p, "postgres"), []string{name(i)}); err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
}

// promote has member i leave recovery.
func (c *cluster) promote(t *testing.T, i int) {
	t.Helper()
	if got := c.sql(t, i, "postgres", "SELECT pg_promote()"); got != "t" {
		t.Fatalf("member %d was not promoted: %s", i, got)
	}
}

// TestFormerPrimaryFollowsWithoutItsSlots has a cleanly stopped primary follow the
// standby that was promoted in its place.
func TestFormerPrimaryFollowsWithoutItsSlots(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	c.sql(t, 0, "postgres", "SELECT pg_create_physical_replication_slot('mine', true)")
	c.members[0].stop(t)
	c.promote(t, 1)
	must(t, c.control(t, 1, "postgres").EnsureSlot(t.Context(), name(0)))
	for range 2 {
		must(t, postgres.RemoveSlots(t.Context(), c.members[0], []string{name(0), name(1)}))
	}
	c.follow(t, 0, 1)
	if got := c.sql(t, 0, "postgres", "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots"); got != "mine" {
		t.Errorf("slots of the former primary: got %q, want the user's alone", got)
	}
}

// diverge makes a primary and a standby whose WAL parts at the position returned:
// the former primary has more commits, and was killed.
func diverge(t *testing.T, lost int, parameters map[string]string) (c *cluster, at appliance.LSN) {
	t.Helper()
	c = newPrimary(t)
	c.load(t)
	c.addStandby(t)
	for k, v := range parameters {
		c.sql(t, 0, "postgres", "ALTER SYSTEM SET "+k+" = "+v)
	}
	// Without it, its commits would count too.
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET autovacuum = off")
	c.sql(t, 0, "postgres", "SELECT pg_reload_conf()")
	waitFor(t, func() bool { return c.sql(t, 0, "postgres", "SHOW autovacuum") == "off" })
	// The clone began a segment. The divergence must not be so close to its start that
	// the checkpoint of a recovery that misses the segment reaches beyond it.
	for range 20 {
		c.sql(t, 0, "films", "INSERT INTO payment VALUES (-3, '2022-06-06')")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, postgres.WaitReplayed(ctx, c.control(t, 0, "postgres"), []string{name(1)}))
	c.promote(t, 1)
	for range lost {
		c.sql(t, 0, "films", "INSERT INTO payment VALUES (-1, '2022-06-06')")
	}
	c.members[0].stopWith(t, syscall.SIGKILL)
	// A segment made in advance has no header. pg_waldump must not ask it.
	for _, m := range c.members {
		ahead := filepath.Join(m.layout.DataDir, "pg_wal", walFile(1, 0xff<<24))
		must(t, os.WriteFile(ahead, make([]byte, 16<<20), 0o600))
		m.chown(t, ahead)
	}
	c.sql(t, 1, "films", "INSERT INTO payment VALUES (-2, '2022-06-06')")
	line, err := postgres.EndOfWAL(t.Context(), c.members[1])
	must(t, err)
	if line.Line.Timeline != 2 || len(line.Line.Ancestors) != 1 {
		t.Fatalf("the new primary's line is %+v", line)
	}
	return c, line.Line.Ancestors[0].At
}

func (c *cluster) rewindOptions() postgres.RewindOptions {
	return postgres.RewindOptions{
		Source: postgres.Upstream{Host: c.members[1].host, Port: c.members[1].port}, Member: name(0),
		Password: c.secrets.Get(appliance.SecretRewind),
	}
}

// sameRows fails unless the former primary has the new one's payments.
func (c *cluster) sameRows(t *testing.T) {
	t.Helper()
	const all = "SELECT md5(string_agg(p::text, ' ' ORDER BY p::text)) FROM payment p"
	want := c.sql(t, 1, "films", all)
	waitFor(t, func() bool { return c.sql(t, 0, "films", all) == want })
}

func TestRewindReturnsAFormerPrimary(t *testing.T) {
	t.Parallel()
	const lost = 7
	before := time.Now().Add(-time.Second)
	c, at := diverge(t, lost, nil)
	m := c.members[0]
	end, err := postgres.EndOfWAL(t.Context(), m)
	must(t, err)
	d, err := postgres.CountDiscarded(t.Context(), m, name(0), end, at)
	must(t, err)
	if d.Commits != lost || d.Unknown != "" || d.Bytes != int64(end.At-at) || d.Bytes <= 0 {
		t.Errorf("discarded %+v, want %d commits in %d bytes", d, lost, end.At-at)
	}
	if d.First == nil || d.Last == nil || d.First.Before(before) || d.Last.Before(*d.First) || d.Last.After(time.Now()) {
		t.Errorf("the first and last discarded commits are of %v and %v", d.First, d.Last)
	}
	must(t, c.control(t, 1, "postgres").EnsureSlot(t.Context(), name(0)))
	must(t, postgres.Rewind(t.Context(), m, c.rewindOptions(), nil))
	if began, err := postgres.RewindBegan(t.Context(), m); err != nil || !began {
		t.Errorf("the marker of a rewind that nobody ended: %v %v", began, err)
	}
	must(t, postgres.RewindEnded(t.Context(), m))
	if began, err := postgres.RewindBegan(t.Context(), m); err != nil || began {
		t.Errorf("the marker of an ended rewind: %v %v", began, err)
	}
	c.follow(t, 0, 1)
	c.sameRows(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, arg := range m.ran {
		if strings.Contains(arg, c.secrets.Get(appliance.SecretRewind).Reveal()) {
			t.Error("the password of role rewind is in a command's arguments or environment")
		}
	}
	if _, err := os.Stat(filepath.Join(m.layout.ConfDir, "pgpass-rewind")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the password file is left: %v", err)
	}
}

// TestEndOfWALOfACleanShutdown compares with the position that the standby received.
func TestEndOfWALOfACleanShutdown(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	for range 3 {
		c.sql(t, 0, "postgres", "SELECT pg_logical_emit_message(false, 'test', repeat('x', 30000))")
		c.members[0].stop(t)
		want, err := appliance.ParseLSN(c.sql(t, 1, "postgres", "SELECT pg_last_wal_receive_lsn()"))
		must(t, err)
		got, err := postgres.EndOfWAL(t.Context(), c.members[0])
		must(t, err)
		if got.At != want || got.Line.Timeline != 1 {
			t.Errorf("got %s on timeline %d, the standby received %s", got.At, got.Line.Timeline, want)
		}
		c.members[0].start(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		must(t, postgres.WaitStreaming(ctx, c.control(t, 0, "postgres"), []string{name(1)}))
	}
}

// TestKilledRewindIsSeen kills pg_rewind, as a kill of the daemon may. What is left
// must not be started, and a clone takes its place.
func TestKilledRewindIsSeen(t *testing.T) {
	t.Parallel()
	c, _ := diverge(t, 1, nil)
	m := c.members[0]
	m.tap = func(argv []string) ([]string, func(int)) {
		if filepath.Base(argv[0]) != "pg_rewind" {
			return argv, func(int) {}
		}
		return argv, func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) } // it may have ended
	}
	if err := postgres.Rewind(t.Context(), m, c.rewindOptions(), nil); !appliance.IsProblem(err, appliance.ErrRewind) {
		t.Fatalf("got %v, want %s", err, appliance.ErrRewind)
	}
	m.tap = nil
	if began, err := postgres.RewindBegan(t.Context(), m); err != nil || !began {
		t.Fatalf("the marker of a killed rewind: %v %v", began, err)
	}
	c.cloneBeside(t)
}

// cloneBeside clones the former primary from the new one, beside its old directory.
func (c *cluster) cloneBeside(t *testing.T) {
	t.Helper()
	m, ctx := c.members[0], t.Context()
	must(t, postgres.KillRewind(ctx, m))
	for range 2 {
		if kept, err := postgres.SetAside(ctx, m); err != nil || !kept {
			t.Fatalf("the old directory was kept: %v %v", kept, err)
		}
	}
	primary := c.control(t, 1, "postgres")
	must(t, primary.EnsureSlot(ctx, name(0)))
	o := c.cloneOptions(0)
	o.Upstream, o.Primary = postgres.Upstream{Host: c.members[1].host, Port: c.members[1].port, Slot: name(0)}, primary
	must(t, postgres.Clone(ctx, m, o, nil))
	if old, err := postgres.OldAside(ctx, m); err != nil || !old {
		t.Errorf("the old directory beside the clone: %v %v", old, err)
	}
	must(t, postgres.PutBack(ctx, m)) // a clone is in its place
	must(t, postgres.RewindEnded(ctx, m))
	c.follow(t, 0, 1)
	c.sameRows(t)
	for range 2 {
		must(t, postgres.DropAside(ctx, m))
	}
	if old, err := postgres.OldAside(ctx, m); err != nil || old {
		t.Errorf("the old directory after its removal: %v %v", old, err)
	}
}

// TestRewindFailsWithoutTheWAL has the former primary lose the WAL of the divergence.
func TestRewindFailsWithoutTheWAL(t *testing.T) {
	t.Parallel()
	c, at := diverge(t, 1, map[string]string{"wal_keep_size": "0"})
	m := c.members[0]
	end, err := postgres.EndOfWAL(t.Context(), m)
	must(t, err)
	must(t, os.Remove(filepath.Join(m.layout.DataDir, "pg_wal", walFile(1, at))))
	d, err := postgres.CountDiscarded(t.Context(), m, name(0), end, at)
	must(t, err)
	if d.Unknown == "" || d.Commits != 0 || d.Bytes != 0 {
		t.Errorf("got %+v, want that nobody knows", d)
	}
	if err := postgres.Rewind(t.Context(), m, c.rewindOptions(), nil); !appliance.IsProblem(err, appliance.ErrRewind) {
		t.Fatalf("got %v, want %s", err, appliance.ErrRewind)
	}
	c.cloneBeside(t)
}

func walFile(timeline uint32, at appliance.LSN) string {
	const segment = 16 << 20
	return fmt.Sprintf("%08X%08X%08X", timeline, uint64(at)>>32, uint64(at)&0xffffffff/segment)
}

// TestFailedCloneLeavesTheOldDirectory has the clone find no primary.
func TestFailedCloneLeavesTheOldDirectory(t *testing.T) {
	t.Parallel()
	c, _ := diverge(t, 1, nil)
	m, ctx := c.members[0], t.Context()
	if kept, err := postgres.SetAside(ctx, m); err != nil || !kept {
		t.Fatalf("the old directory was kept: %v %v", kept, err)
	}
	o := c.cloneOptions(0)
	o.Upstream.Port = freePort(t, m.host)
	if err := postgres.Clone(ctx, m, o, nil); !appliance.IsProblem(err, appliance.ErrClone) {
		t.Fatalf("got %v, want %s", err, appliance.ErrClone)
	}
	for range 2 {
		must(t, postgres.PutBack(ctx, m))
	}
	if d, err := postgres.InspectDataDir(ctx, m); err != nil || !d.Initialised {
		t.Errorf("the old directory is not back: %+v %v", d, err)
	}
	if kept, err := postgres.SetAside(ctx, m); err != nil || !kept {
		t.Fatalf("the old directory was kept: %v %v", kept, err)
	}
	must(t, postgres.RemoveDataDir(ctx, m))
	if left, err := filepath.Glob(m.layout.DataDir + "*"); err != nil || len(left) > 0 {
		t.Errorf("left after the removal: %v %v", left, err)
	}
}

// TestRewindReturnsAStandbyThatIsAhead promotes a standby that has less than another
// one, which was down meanwhile.
func TestRewindReturnsAStandbyThatIsAhead(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.load(t)
	c.addStandby(t)
	ahead := c.addStandby(t)
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET autovacuum = off")
	c.sql(t, 0, "postgres", "SELECT pg_reload_conf()")
	waitFor(t, func() bool { return c.sql(t, 0, "postgres", "SHOW autovacuum") == "off" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, postgres.WaitReplayed(ctx, c.control(t, 0, "postgres"), []string{name(1), name(2)}))
	c.members[1].stop(t)
	const lost = 4
	for range lost {
		c.sql(t, 0, "films", "INSERT INTO payment VALUES (-1, '2022-06-06')")
	}
	must(t, postgres.WaitReplayed(ctx, c.control(t, 0, "postgres"), []string{name(2)}))
	ahead.stopWith(t, syscall.SIGKILL)
	c.members[0].stopWith(t, syscall.SIGKILL)
	c.members[1].start(t)
	c.promote(t, 1)
	now, err := postgres.EndOfWAL(ctx, c.members[1])
	must(t, err)
	end, err := postgres.EndOfWAL(ctx, ahead)
	must(t, err)
	at := now.Line.Ancestors[0].At
	if end.At <= at {
		t.Fatalf("the standby's WAL ends at %s, and the switch was at %s", end.At, at)
	}
	history, err := os.ReadFile(filepath.Join(c.members[1].layout.DataDir, "pg_wal", "00000002.history"))
	must(t, err)
	fetched := filepath.Join(ahead.layout.DataDir, "pg_wal", "00000002.history") // as its receiver would have, before the primary refuses it
	must(t, os.WriteFile(fetched, history, 0o600))
	ahead.chown(t, fetched)
	knows, err := postgres.EndOfWAL(ctx, ahead)
	must(t, err)
	if knows.At != end.At || knows.Line.Timeline != 1 || !now.Line.DescendsFrom(knows.Told) {
		t.Errorf("with the new timeline's history, the standby's WAL ends at %+v, want %+v", knows, end)
	}
	d, err := postgres.CountDiscarded(ctx, ahead, name(2), end, at)
	must(t, err)
	if d.Commits != lost || d.Unknown != "" {
		t.Errorf("discarded %+v, want %d commits", d, lost)
	}
	must(t, c.control(t, 1, "postgres").EnsureSlot(ctx, name(2)))
	o := c.rewindOptions()
	o.Member = name(2)
	must(t, postgres.Rewind(ctx, ahead, o, nil))
	c.follow(t, 2, 1)
	const all = "SELECT md5(string_agg(p::text, ' ' ORDER BY p::text)) FROM payment p"
	if got, want := c.sql(t, 2, "films", all), c.sql(t, 1, "films", all); got != want {
		t.Errorf("the rows of the rewound standby differ from the primary's")
	}
}
