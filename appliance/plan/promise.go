package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

const (
	// promiseLimit bounds the wait for a promise to be settled.
	promiseLimit = 60 * time.Second
	promisePoll  = 20 * time.Millisecond
	// moveLimit bounds each move that pgapp makes by itself, and the time until the primary
	// uses its new setting. A primary that is halted does neither, and there may be more to
	// do, as to replace it.
	moveLimit = 5 * time.Second
)

// settling settles what is promised of acknowledged commits: it moves the record and
// the primary's setting towards what the streaming standbys can keep. The order of the
// moves is that of [ha.Moves]. Each move is stored in one transaction, and a repeat
// after a kill goes on from the record and the setting in force.
type settling struct {
	work work
	// leaving is a standby that is about to stop, and left out.
	leaving string
	// keeps is set if the leaving standby keeps its data and comes back.
	keeps bool
	// last says what becomes of the promise if no other standby streams.
	last lastStandby
	// moment is the position that has to be flushed before want is stored.
	moment *moment
}

// moment is a position in the primary's WAL after a setting came into force.
type moment struct {
	want appliance.Promise
	at   appliance.LSN
	// asked is since when the primary doesn't use the wanted setting, zero while it does.
	asked time.Time
}

// lastStandby says what becomes of the promise without the last standby.
type lastStandby int

const (
	// lastKeeps keeps the promise, so that commits wait until a standby streams.
	lastKeeps lastStandby = iota
	// lastRefused refuses the operation.
	lastRefused
	// lastEnds ends the promise.
	lastEnds
)

// promises tells whether the operation has to settle a promise.
func promises(c appliance.Cluster, ch *appliance.Change) bool {
	return c.Spec.Quorum() || !c.Promise.None() || !c.Sync.None() || ch != nil && ch.Durability != ""
}

// settle moves until what is wanted is stored and in force.
func (p settling) settle(ctx context.Context, report appliance.Report) error {
	select { // two at once would store what the other has not seen
	case p.work.settling <- struct{}{}:
		defer func() { <-p.work.settling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, promiseLimit)
	defer cancel()
	p.moment = &moment{}
	var now appliance.Promise
	err := wait.Until(limited, promisePoll, func(ctx context.Context) (done bool, err error) {
		if p.alone() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, moveLimit)
			defer cancel()
		}
		err = p.work.inPrimary(ctx, func(f facts, c *postgres.Control) error {
			now = f.cluster.Promise
			done, err = p.move(ctx, f, c, report)
			return err
		})
		return done, err
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return appliance.NewProblem(appliance.ErrReplication, "the promise of durability quorum was not settled in time; promised now: %s", now).
			WithHint("pgapp ps shows which standbys stream; pgapp up goes on")
	}
	return err
}

// alone tells whether pgapp has begun the operation by itself.
func (p settling) alone() bool { return p.work.op.Params.Reason != "" }

// late tells whether the primary doesn't use a setting that it was given long ago.
func (p settling) late(inForce, want appliance.Promise) bool {
	switch {
	case inForce.Equal(want):
		p.moment.asked = time.Time{}
	case p.moment.asked.IsZero():
		p.moment.asked = time.Now()
	}
	return p.alone() && !p.moment.asked.IsZero() && time.Since(p.moment.asked) > moveLimit
}

// move makes one move, and tells whether none is left.
func (p settling) move(ctx context.Context, f facts, c *postgres.Control, report appliance.Report) (bool, error) {
	inForce, err := c.PromiseInForce(ctx)
	if err != nil {
		return false, err
	}
	rows, err := c.Replication(ctx)
	if err != nil {
		return false, err
	}
	want, err := p.wanted(f.cluster, rows)
	if err != nil {
		return false, err
	}
	if want == nil {
		report(appliance.Progress{Note: "no standby streams: under durability quorum, commits wait until one does"})
		return true, nil
	}
	return p.towards(ctx, f, c, inForce, *want, report)
}

// towards makes the next move to the wanted promise, and tells whether none is left.
func (p settling) towards(ctx context.Context, f facts, c *postgres.Control, inForce, want appliance.Promise, report appliance.Report) (bool, error) {
	report(appliance.Progress{Detail: fmt.Sprintf("promised: %s; wanted: %s", f.cluster.Promise, want)})
	if p.late(inForce, want) {
		return false, fmt.Errorf("the primary %s does not use its new setting: %w", f.cluster.Primary, context.DeadlineExceeded)
	}
	flushed, err := p.flushed(ctx, f, c, inForce, want)
	if err != nil {
		return false, err
	}
	switch move := ha.Moves(f.cluster.Promise, inForce, want, flushed); {
	case move.Store != nil:
		return false, p.store(ctx, *move.Store, want)
	case move.Set != nil || !f.cluster.Sync.Equal(want):
		if err := p.store(ctx, f.cluster.Promise, want); err != nil {
			return false, err
		}
		return false, p.set(ctx)
	}
	return inForce.Equal(want) && f.cluster.Promise.Equal(want), nil
}

// wanted returns the promise that the standbys can keep that stream and stay. It is nil
// if there are none and the promise stays as it is.
func (p settling) wanted(c appliance.Cluster, rows []appliance.ReplicationRow) (*appliance.Promise, error) {
	if !c.Spec.Quorum() {
		return &appliance.Promise{}, nil
	}
	var names []string
	for _, m := range c.Standbys() {
		streams := slices.ContainsFunc(rows, func(r appliance.ReplicationRow) bool {
			return r.ApplicationName == m.Name && r.State == "streaming"
		})
		if streams && !m.WantStopped && m.Return == "" && m.Name != p.leaving {
			names = append(names, m.Name)
		}
	}
	want := ha.Over(names...)
	switch {
	case len(names) > 0 || p.last == lastEnds:
		return &want, nil
	case p.last == lastRefused:
		return nil, lastProblem(c, p.leaving)
	}
	return nil, nil //nolint:nilnil // nothing is wanted
}

func lastProblem(c appliance.Cluster, member string) error {
	return appliance.NewProblem(appliance.ErrConflict, "%s is the last standby that keeps the promise of durability quorum of cluster %q", member, c.Name).
		WithHint("start another standby first, or end the promise: repeat it with --force")
}

// flushed tells whether the standbys have flushed what the primary had once the wanted
// setting was in force. The position is taken once for as long as the setting stays: where
// another one came between, or the files have another one that the primary has yet to read,
// commits may be acknowledged under that one.
func (p settling) flushed(ctx context.Context, f facts, c *postgres.Control, inForce, want appliance.Promise) (bool, error) {
	if !inForce.Equal(want) || !f.cluster.Sync.Equal(want) {
		p.moment.at = 0
		return false, nil
	}
	if want.None() || f.cluster.Promise.Equal(want) {
		return false, nil
	}
	if p.moment.at == 0 || !p.moment.want.Equal(want) {
		if f.cluster.Promise.None() {
			if ok, err := c.Enforce(ctx); err != nil || !ok {
				return false, err
			}
		}
		at, err := c.Mark(ctx)
		if err != nil {
			return false, err
		}
		*p.moment = moment{want: want, at: at}
	}
	return c.Under(ctx, want, p.moment.at)
}

// store stores a promise, and the setting that is wanted if it implies the promise.
func (p settling) store(ctx context.Context, promise, want appliance.Promise) error {
	return p.work.updateCluster(ctx, func(c *appliance.Cluster) {
		c.Promise = promise
		if ha.Implies(want, promise) {
			c.Sync = want
		}
	})
}

// set has the primary use the recorded setting.
func (p settling) set(ctx context.Context) error {
	return p.work.on(ctx, p.work.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		conf, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
		if err != nil {
			return err
		}
		return postgres.Follow(ctx, mc, conf)
	})
}

// spread gives the running standbys the recorded setting too, so that one of them can
// be promoted without a change of its files. A standby that fails gets it later.
func (p settling) spread(ctx context.Context, report appliance.Report) {
	f, err := p.work.facts(ctx)
	if err != nil {
		return
	}
	for _, m := range f.cluster.Standbys() {
		mc := p.work.provider.Machine(f.cluster, m)
		if running, err := mc.ServerRunning(ctx); m.Return != "" || err != nil || !running {
			continue
		}
		d, err := postgres.InspectDataDir(ctx, mc)
		if err == nil && d.InRecovery {
			var conf postgres.Config
			if conf, err = f.memberConfig(ctx, m, mc, d.Limits); err == nil {
				err = postgres.Follow(ctx, mc, conf)
			}
		}
		if err != nil {
			report(appliance.Progress{Detail: m.Name + " gets the setting later: " + err.Error()})
		}
	}
}
