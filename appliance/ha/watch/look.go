package watch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

const (
	// freshEvery is the interval of new connections to members without a doubt.
	freshEvery = 5 * time.Second
	// localLook and machineLook bound the questions of a look.
	localLook   = time.Second
	machineLook = 2 * time.Second
)

// looker looks at the members of one cluster.
type looker struct {
	sessions *postgres.Sessions
	provider appliance.Provider
	// limit bounds the questions of a look.
	limit time.Duration
	// fresh is when each member last took a new connection.
	fresh map[string]time.Time
	// seen is the furthest flushed position of the primary.
	seen  appliance.LSN
	epoch uint64
	// crew runs what a look does at the same time.
	crew *crew
	// writes are those to the members' disks.
	writes writes
}

// view is one look at a cluster.
type view struct {
	known   ha.Known
	members []ha.Sighting
}

// look looks at all members that shall run, at the same time.
func (l *looker) look(ctx context.Context, c appliance.Cluster, s appliance.Secrets) view {
	var shall []appliance.Member
	for _, m := range c.Members {
		if !m.WantStopped {
			shall = append(shall, m)
		}
	}
	out := view{members: make([]ha.Sighting, len(shall))}
	now := time.Now()
	var wg sync.WaitGroup
	for i, m := range shall {
		due := now.Sub(l.fresh[m.Name]) >= freshEvery
		l.crew.run(&wg, func() { out.members[i] = l.sight(ctx, c, m, s, due) })
	}
	wg.Wait()
	stranded(c, out.members, func(m appliance.Member) (standing postgres.Standing, err error) {
		ctx, cancel := context.WithTimeout(ctx, l.limit)
		defer cancel()
		err = l.sessions.Use(ctx, postgres.SessionKey(c, m.Name), dialer(m, s), func(p *postgres.Control) (err error) {
			standing, err = p.Standing(ctx)
			return err
		})
		return standing, err
	})
	l.write(ctx, c, s, out.members)
	if l.epoch != c.Epoch {
		l.epoch, l.seen = c.Epoch, 0
	}
	for _, o := range out.members {
		if o.Fresh == ha.Answers {
			l.fresh[o.Member] = now
		}
		if o.Member == c.Primary && o.Standing.Answered && o.Standing.Primary {
			l.seen = max(l.seen, o.Standing.Received)
		}
	}
	out.known = ha.Known{
		Identifier: c.SystemIdentifier, Line: c.Line(), Promise: c.Promise, Primary: c.Primary, Epoch: c.Epoch, Seen: l.seen,
	}
	return out
}

// ask asks the member's server in a kept session.
func (l *looker) ask(ctx context.Context, c appliance.Cluster, m appliance.Member, s appliance.Secrets, out *ha.Sighting) error {
	var seen postgres.Sight
	err := l.sessions.Use(ctx, postgres.SessionKey(c, m.Name), dialer(m, s), func(p *postgres.Control) (err error) {
		seen, err = p.Sight(ctx)
		return err
	})
	switch {
	case err == nil:
		out.Session = ha.Answers
	case postgres.Lives(err):
		out.Session = ha.Denies
		return err
	default:
		out.Session = ha.Silent
		return err
	}
	out.Streams, out.Connected, out.Lost, out.InForce = seen.Streams, seen.Connected, lostMembers(c, seen.Lost), seen.InForce
	out.Quiet = unusual(seen.Quiet, seen.Asks)
	if !seen.Receiving {
		out.Quiet = ha.NoReceiver
	}
	st := &out.Standing
	st.Answered, st.Primary, st.Identifier = true, !seen.InRecovery, seen.SystemIdentifier
	st.Received, st.Replayed, st.Detached = seen.Received, seen.Replayed, !seen.Receiving
	return nil
}

// asksDefault is when a receiver asks under pgapp's own wal_receiver_timeout, for which
// [ha.Pace.Unheard] is made.
const asksDefault = 5 * time.Second

// unusual is how long a receiver has been silent, without the time by which the user's
// wal_receiver_timeout lets it be silent for longer beside a primary that is well.
func unusual(quiet, asks time.Duration) time.Duration {
	if asks == 0 {
		return 0
	}
	return max(quiet-max(asks-asksDefault, 0), 0)
}

func dialer(m appliance.Member, s appliance.Secrets) func(context.Context) (*postgres.Control, error) {
	return func(ctx context.Context) (*postgres.Control, error) {
		return postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, s.Get(appliance.SecretControl))
	}
}

// lostMembers are the members whose slots are lost.
func lostMembers(c appliance.Cluster, slots []string) (out []string) {
	for _, m := range c.Members {
		if m.Slot != "" && slices.Contains(slots, m.Slot) {
			out = append(out, m.Name)
		}
	}
	return out
}

func fresh(ctx context.Context, m appliance.Member) ha.Answer {
	switch postgres.Greet(ctx, m.Host, m.Port) {
	case postgres.GreetsWell:
		return ha.Answers
	case postgres.GreetsNobody:
		return ha.Refuses
	case postgres.GreetsStarting:
		return ha.Starts
	case postgres.GreetsSilent:
	}
	return ha.Silent
}

// least is the room that a server needs to go on: a WAL segment.
const least = 16 << 20

// full tells whether the file system of a member's data directory on this host has no
// room for another WAL segment.
func (l *looker) full(c appliance.Cluster, m appliance.Member) bool {
	if m.Placement == appliance.PlacementVM {
		return false
	}
	var st unix.Statfs_t
	err := unix.Statfs(l.provider.Machine(c, m).Layout().DataDir, &st)
	return err == nil && st.Bavail < least/uint64(max(st.Bsize, 1)) // #nosec G115 -- a block's size
}

// missing names what the member's data directory on this host has lost, if the server
// refuses a new session for lack of files too: a kept one goes on with those that it has
// open. Either alone is no proof. A directory may be out of sight only, as where it was
// renamed under a server that goes on.
func (l *looker) missing(ctx context.Context, c appliance.Cluster, m appliance.Member, s appliance.Secrets) string {
	if m.Placement == appliance.PlacementVM {
		return ""
	}
	for _, part := range postgres.Essential() {
		dir := filepath.Join(l.provider.Machine(c, m).Layout().DataDir, part)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		session, err := dialer(m, s)(ctx)
		if err == nil {
			_ = session.Close(ctx)
			return ""
		}
		if postgres.LacksFiles(err) {
			return dir
		}
	}
	return ""
}

// clean tells whether the server that is gone was shut down. A virtual machine that is
// off can't be asked.
func (l *looker) clean(ctx context.Context, c appliance.Cluster, m appliance.Member) bool {
	if m.Placement == appliance.PlacementVM {
		return false
	}
	machine := l.provider.Machine(c, m)
	if f, err := postgres.ReadControlFile(ctx, machine); err == nil {
		return f.Closed
	}
	d, err := postgres.InspectDataDir(ctx, machine) // says it also where the directory is elsewhere
	return err == nil && (d.State == "shut down" || d.State == "shut down in recovery")
}
