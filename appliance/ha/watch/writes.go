package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

const (
	// writeEvery is how long a primary's flushed position may stand still before pgapp
	// writes itself. A primary that writes anyway is left alone.
	writeEvery = 3 * time.Second
	// writeAgain is the interval of writes on standbys while a primary's write waits.
	writeAgain = 2 * time.Second
	// writeLost is how long a write may be unknown to the server before it is given up.
	writeLost = 3 * time.Second
	// writeSlow is how long a write to a standby's disk may take.
	writeSlow = time.Second
)

// writes has the members write to their disks, each in a session of its own. A write
// whose server is at it has no limit: another one would only wait behind it.
type writes struct {
	wg sync.WaitGroup
	mu sync.Mutex
	of map[string]*write
	// at is the furthest flushed position of the primary seen, in this epoch, and moved
	// when a look saw it go on.
	at    appliance.LSN
	epoch uint64
	moved time.Time
}

// write is the last write to one member.
type write struct {
	began, ended time.Time
	err          error
	pid          uint32
	cancel       context.CancelFunc
}

func (w write) runs() bool { return !w.began.IsZero() && w.ended.IsZero() }

// last returns the last write to the member, with a zero value if there was none.
func (w *writes) last(member string) write {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.of[member]; x != nil {
		return *x
	}
	return write{}
}

// begin begins a write to the member, which goes on after the look.
func (w *writes) begin(ctx context.Context, member string, do func(ctx context.Context, running func(pid uint32)) error) {
	own, cancel := context.WithCancel(ctx)
	x := &write{began: time.Now(), cancel: cancel}
	w.mu.Lock()
	if w.of == nil {
		w.of = map[string]*write{}
	}
	w.of[member] = x
	w.mu.Unlock()
	w.wg.Go(func() {
		defer cancel()
		err := do(own, func(pid uint32) {
			w.mu.Lock()
			defer w.mu.Unlock()
			x.pid = pid
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		x.ended, x.err = time.Now(), err
	})
}

// see notes whether the primary's flushed position has moved, and tells it.
func (w *writes) see(epoch uint64, at appliance.LSN, now time.Time) bool {
	if w.epoch == epoch && at <= w.at {
		return false
	}
	w.epoch, w.at, w.moved = epoch, at, now
	return true
}

// write finds out whether writes get to the disk of a primary that answers, and if they
// don't, whether they do elsewhere. ctx is not the look's: a write may outlast it.
func (l *looker) write(ctx context.Context, c appliance.Cluster, s appliance.Secrets, all []ha.Sighting) {
	i := slices.IndexFunc(all, func(o ha.Sighting) bool { return o.Member == c.Primary })
	if i < 0 || !all[i].Standing.Answered || !all[i].Standing.Primary {
		return
	}
	p := &all[i]
	m := c.PrimaryMember()
	now := time.Now()
	switch x := l.writes.last(m.Name); {
	case l.writes.see(c.Epoch, p.Standing.Received, now):
		p.Write = ha.Answers
	case x.runs():
		p.Write, p.Waits = l.working(ctx, c, m, s, x)
	case x.ended.After(l.writes.moved) && x.err != nil:
		p.Write = ha.Denies
		fallthrough
	default:
		if now.Sub(x.began) >= writeEvery && now.Sub(l.writes.moved) >= writeEvery {
			l.beginWrite(ctx, c, m, s, postgres.Write)
		}
	}
	if p.Write != ha.Silent {
		return
	}
	p.Full = l.full(c, m)
	for i := range all {
		if o := &all[i]; o.Member != c.Primary && o.Standing.Answered && !o.Standing.Primary {
			l.writeStandby(ctx, c, s, o, now)
		}
	}
}

// working asks the server what it is at for a write that runs. A write that the server
// doesn't know, as one whose connection was cut, is given up.
func (l *looker) working(ctx context.Context, c appliance.Cluster, m appliance.Member, s appliance.Secrets, x write) (ha.Answer, string) {
	ctx, cancel := context.WithTimeout(ctx, localLook)
	defer cancel()
	var waits string
	err := l.sessions.Use(ctx, postgres.SessionKey(c, m.Name), dialer(m, s), func(p *postgres.Control) (err error) {
		waits, _, err = postgres.Working(ctx, p, x.pid)
		return err
	})
	switch {
	case err == nil && x.pid != 0 && waits != "":
		return ha.Silent, waits
	case time.Since(x.began) > writeLost:
		x.cancel()
	}
	return "", ""
}

// writeStandby tells whether the standby's disk takes writes, and has it take another.
func (l *looker) writeStandby(ctx context.Context, c appliance.Cluster, s appliance.Secrets, o *ha.Sighting, now time.Time) {
	x := l.writes.last(o.Member)
	switch m, ok := c.Member(o.Member); {
	case !ok:
	case x.runs() && now.Sub(x.began) > writeSlow:
		o.Write = ha.Silent
	case x.runs():
	case x.began.After(l.writes.moved) && now.Sub(x.ended) < 2*writeAgain && x.err == nil:
		o.Write = ha.Answers
		fallthrough
	default:
		if now.Sub(x.began) >= writeAgain {
			l.beginWrite(ctx, c, m, s, postgres.WriteStandby)
		}
	}
}

func (l *looker) beginWrite(ctx context.Context, c appliance.Cluster, m appliance.Member, s appliance.Secrets, do func(context.Context, *postgres.Control) error) {
	l.writes.begin(ctx, m.Name, func(ctx context.Context, running func(pid uint32)) error {
		return l.sessions.Use(ctx, postgres.SessionKey(c, m.Name)+"/write", dialer(m, s), func(p *postgres.Control) error {
			running(postgres.PID(p))
			return do(ctx, p)
		})
	})
}
