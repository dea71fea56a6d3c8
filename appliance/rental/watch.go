package rental

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	watchEvery = time.Second
	watchLimit = 2 * time.Second
)

// Member is a member of the cluster and the connection string that leads to it alone.
type Member struct{ Name, Conn string }

// MemberState is what a member answered last.
type MemberState struct {
	Name string
	// Up is false where the member gave no answer; then nothing else is known.
	Up      bool
	Standby bool
	// Behind is how many bytes of the log a standby had not replayed yet.
	Behind uint64
	// Paused is true where the standby's replay is paused.
	Paused bool
}

// Members returns what the members answered last, in the order of the configuration.
// Before the first round it is empty.
func (s *Site) Members() []MemberState {
	if list := s.members.Load(); list != nil {
		return *list
	}
	return nil
}

// Watch asks all members every second until ctx ends.
func (s *Site) Watch(ctx context.Context) {
	watches := make([]watch, len(s.cfg.Members))
	for i, m := range s.cfg.Members {
		watches[i] = watch{site: s, member: m}
	}
	for {
		states := make([]MemberState, len(watches))
		seen := make([]sighting, len(watches))
		var wg sync.WaitGroup
		for i := range watches {
			wg.Go(func() {
				states[i], seen[i].at = watches[i].look(ctx)
				seen[i].newest = s.newest.Load()
			})
		}
		wg.Wait()
		compare(states, seen)
		s.members.Store(&states)
		if !rest(ctx, watchEvery) {
			break
		}
	}
	for i := range watches {
		watches[i].close(ctx)
	}
}

// sighting is a member's position, and the primary's newest one known when it answered.
type sighting struct{ at, newest uint64 }

// compare sets how far standbys were behind when the last member that answered did. What
// was written later, while a member that gives no answer was waited for, is no lag.
func compare(states []MemberState, seen []sighting) {
	newest := uint64(0)
	for i, s := range seen {
		if states[i].Up {
			newest = max(newest, s.newest)
		}
	}
	for i, s := range seen {
		if states[i].Standby && newest > s.at {
			states[i].Behind = newest - s.at
		}
	}
}

// watch is the session that asks one member.
type watch struct {
	site   *Site
	member Member
	conn   *pgx.Conn
}

// look asks the member for its state and position.
func (w *watch) look(ctx context.Context) (MemberState, uint64) {
	out := MemberState{Name: w.member.Name}
	limited, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	if w.conn == nil && w.connect(limited) != nil {
		return out, 0
	}
	a, err := w.site.position(limited, w.conn)
	if err == nil && a.Standby {
		err = w.conn.QueryRow(limited, "SELECT pg_is_wal_replay_paused()").Scan(&out.Paused)
	}
	if err != nil {
		w.close(ctx)
		return out, 0
	}
	out.Up, out.Standby = true, a.Standby
	return out, a.Position.LSN
}

func (w *watch) connect(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(w.member.Conn)
	if err != nil {
		return withoutConnString(err)
	}
	cfg.RuntimeParams["application_name"] = w.site.app
	if w.site.cfg.Dial != nil {
		cfg.DialFunc = w.site.cfg.Dial
	}
	w.conn, err = pgx.ConnectConfig(ctx, cfg)
	return err //nolint:wrapcheck // look only asks whether
}

func (w *watch) close(ctx context.Context) {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	_ = w.conn.Close(ctx) // it only reads
	w.conn = nil
}
