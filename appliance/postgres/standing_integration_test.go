//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

func TestAskLineIsReadLine(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	ask := func(i int, timeline uint32) appliance.Line {
		m := c.members[i]
		line, err := postgres.AskLine(t.Context(), m.host, m.port, c.secrets.Get(appliance.SecretReplicator), timeline)
		must(t, err)
		return line
	}
	if got := ask(0, 1); got.Timeline != 1 || len(got.Ancestors) != 0 {
		t.Errorf("the first timeline's line is %+v", got)
	}
	c.promote(t, 1)
	want, err := postgres.ReadLine(t.Context(), c.members[1], 2)
	must(t, err)
	if got := ask(1, 2); len(got.Ancestors) != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("the server tells %+v, its directory has %+v", got, want)
	}
	m := c.members[1]
	if _, err := postgres.AskLine(t.Context(), m.host, m.port, c.secrets.Get(appliance.SecretReplicator), 9); err == nil {
		t.Error("a timeline that the server doesn't have has a line")
	}
}

// commandsOnly is a machine of one member alone, on which pgapp neither reads nor writes a file
// by itself.
type commandsOnly struct {
	postgres.Shell
	appliance.DirMaker
}

func (commandsOnly) ReadFile(context.Context, string) ([]byte, error) { return nil, errMute }

func (commandsOnly) WriteFile(context.Context, string, []byte, fs.FileMode) error { return errMute }

// TestMarkStandbyIsOneCommandElsewhere marks with one command on a machine of its own, and
// without any on this one.
func TestMarkStandbyIsOneCommandElsewhere(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, ctx := c.members[0], t.Context()
	for name, sh := range map[string]postgres.Shell{"a machine of its own": commandsOnly{Shell: m}, "this machine": m} {
		for range 2 {
			must(t, postgres.MarkStandby(ctx, sh))
			if b, err := m.ReadFile(ctx, filepath.Join(m.layout.DataDir, "standby.signal")); err != nil || len(b) > 0 {
				t.Fatalf("%s: standby.signal: %q, %v", name, b, err)
			}
		}
		must(t, os.Remove(filepath.Join(m.layout.DataDir, "standby.signal")))
	}
	empty := newMachine(t, "127.0.0.1")
	must(t, postgres.MarkStandby(ctx, empty))
	if _, err := empty.ReadFile(ctx, filepath.Join(empty.layout.DataDir, "standby.signal")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without data was marked: %v", err)
	}
}

// TestStandingThatWaitsHasReplayedItsWAL asks a standby in several sessions while its
// replay, which was held up, comes to the end. A question takes a while: a position from
// before the end does not go with a wait from after it.
func TestStandingThatWaitsHasReplayedItsWAL(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	c.sql(t, 0, "postgres", "CREATE TABLE public.goods (id int)")
	var sessions []*postgres.Control
	for range 4 {
		sessions = append(sessions, c.control(t, 1, postgres.MaintenanceDatabase))
	}
	until := func(holds func(postgres.Standing) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		must(t, wait.Until(ctx, time.Millisecond, func(ctx context.Context) (bool, error) {
			s, err := sessions[0].Standing(ctx)
			return holds(s), err
		}))
	}
	for round := range 60 {
		c.sql(t, 1, "postgres", "SELECT pg_wal_replay_pause()")
		until(func(s postgres.Standing) bool { return s.PauseState == "paused" })
		c.sql(t, 0, "postgres", "INSERT INTO public.goods VALUES (1)")
		want, err := appliance.ParseLSN(c.sql(t, 0, "postgres", "SELECT pg_current_wal_flush_lsn()"))
		must(t, err)
		until(func(s postgres.Standing) bool { return s.Received >= want })
		var asking sync.WaitGroup
		for _, session := range sessions {
			asking.Go(func() {
				for {
					s, err := session.Standing(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if s.Waits && s.Replayed < want {
						t.Errorf("round %d: the standby waits for WAL at %s, and has it up to %s", round, s.Replayed, want)
					}
					if s.Waits {
						return
					}
				}
			})
		}
		c.sql(t, 1, "postgres", "SELECT pg_wal_replay_resume()")
		asking.Wait()
		if t.Failed() {
			return
		}
	}
}
