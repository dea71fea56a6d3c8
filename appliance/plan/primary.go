package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

const (
	kindChange     appliance.StepKind = "change"
	kindCheckpoint appliance.StepKind = "checkpoint"
)

const (
	// changePoll is the pause between two looks of a change of primary.
	changePoll = 5 * time.Millisecond
	// fencePause is the pause between two attempts to fence.
	fencePause = time.Second
)

// primaryChange carries out what package ha decides about a change of primary: it
// looks at the members, asks for the next step, saves it, and carries out its commands.
type primaryChange struct {
	work work
	// fenced are the members that this process has proven to have ended.
	fenced *sync.Map
	// given are the commands that have succeeded in this phase.
	given map[ha.Command]bool
	// seen are the members' positions in the last look.
	seen map[string]appliance.LSN
	// ready is what this process has found out and prepared before the change.
	ready *readiness
	// since is when the phase began, in this process.
	since time.Time
	phase appliance.ChangePhase
	// routed is the phase that the endpoints follow.
	routed appliance.ChangePhase
	// closing tells when the endpoints have followed the fence's phase, nil if they have or
	// need not.
	closing chan routing
	// times are of the phases that have ended.
	times *times
	// trouble is the last failure of a command, for the operation's progress.
	trouble error
}

func newPrimaryChange(w work) primaryChange {
	return primaryChange{work: w, fenced: &sync.Map{}, given: map[ha.Command]bool{}, seen: map[string]appliance.LSN{}, ready: newReadiness(), times: &times{}}
}

// drawChange draws the steps that move or replace the primary.
func drawChange(r *recipe, c appliance.Cluster) {
	from := c.Primary
	if ch := c.Change; ch != nil && ch.Operation == r.op.ID {
		from = ch.From
	}
	s := whole(kindChange, "move the primary away from "+from)
	if r.op.Kind == appliance.OpFailover {
		s.Title = "replace the primary " + from
	}
	s.FinishesCancel = true
	p := newPrimaryChange(r.work)
	s.Done, s.Do = p.done, p.do
	changed := r.add(s)
	follow := whole(kindStreaming, "wait until the others stream")
	follow.Do = p.othersStream(from)
	streaming := r.add(follow, changed)
	back := rejoinStep(r, from, changed)
	point := whole(kindCheckpoint, "write a checkpoint")
	point.Do = p.checkpoint
	promise := promiseStep(r, streaming, back)
	r.add(point, streaming, back, promise)
	for _, n := range r.nodes {
		if n != changed {
			n.step.Do = afterwards(p.work, n.step)
		}
	}
}

// checkpoint comes last, since it may take seconds. It also writes the promotion into
// the data, if a kill has prevented that.
func (p primaryChange) checkpoint(ctx context.Context, _ appliance.Report) error {
	return p.work.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		if n := len(f.cluster.Promotions); n > 0 {
			if err := c.RecordPromotion(ctx, f.cluster.Promotions[n-1]); err != nil {
				return err
			}
		}
		return c.Checkpoint(ctx)
	})
}

// ended notes the proof that nothing of the member runs.
func (p primaryChange) ended(member string) { p.fenced.Store(member, true) }

// hasEnded tells whether the member was proven to have ended.
func (p primaryChange) hasEnded(member string) bool {
	_, ok := p.fenced.Load(member)
	return ok
}

// change returns the operation's recorded change, nil if there is none.
func (p primaryChange) change(c appliance.Cluster) *appliance.PrimaryChange {
	if c.Change == nil || c.Change.Operation != p.work.op.ID {
		return nil
	}
	return c.Change
}

// done asks the record alone: what has been changed is never changed back.
func (p primaryChange) done(ctx context.Context) (bool, error) {
	f, err := p.work.facts(ctx)
	if err != nil {
		return false, err
	}
	ch := p.change(f.cluster)
	return ch != nil && ch.Phase == appliance.ChangeDone, nil
}

// do goes on with the change until it has ended. A repeat goes on from the record.
func (p primaryChange) do(ctx context.Context, report appliance.Report) error {
	defer func() {
		closed(ctx, &p, report)
		p.ready.close(ctx)
	}()
	for {
		f, err := p.work.facts(ctx)
		if err != nil {
			return err
		}
		ch := p.change(f.cluster)
		if ch == nil {
			return appliance.NewProblem(appliance.ErrInternal, "operation %s has no change of primary on record", p.work.op.ID)
		}
		if ch.Phase != p.phase {
			if err := unlessServes(ctx, p, f, *ch); err != nil {
				return err
			}
			p.begin(ch.Phase, time.Now())
		}
		if ch.Phase.Final() {
			err := errors.Join(p.letIn(ctx, *ch, report), p.exact(ctx, f, *ch, outcome(f.cluster, *ch)))
			p.route(ctx, f, *ch, report)
			report(appliance.Progress{Detail: p.story(*ch), Note: notWanted(*ch)})
			return err
		}
		report(appliance.Progress{Detail: p.says(*ch)})
		p.prepare(ctx, f, *ch, report)
		seen := p.look(ctx, f, *ch)
		if err := ctx.Err(); err != nil {
			return err
		}
		next := ha.Next(*ch, seen)
		if err := p.save(ctx, *ch, next); err != nil {
			return err
		}
		if routesNow(next) {
			p.route(ctx, f, next.Change, report)
		}
		p.trouble = p.carryOut(ctx, f, next)
		pause := changePoll
		if next.Change.Phase != ch.Phase && p.trouble == nil {
			pause = 0 // nothing has to happen before the next phase's look
		}
		if p.trouble != nil && (ch.Phase == appliance.ChangeFencing || ch.Phase == appliance.ChangeRetracting || p.ready.endedLooks > endedLooks) {
			pause = fencePause
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}

// begin begins a phase. The standbys that were detached during the fence are so in the
// election.
func (p *primaryChange) begin(phase appliance.ChangePhase, now time.Time) {
	p.times.end(p.phase, p.since, p.ready.since, now)
	if p.phase != appliance.ChangeFencing || phase != appliance.ChangeElecting {
		clear(p.given)
	}
	p.phase, p.since = phase, now
}

// rest waits for the pause, or returns the context's error.
func rest(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// save stores the step's change and what it makes of the record, if they differ from
// what is stored.
func (p primaryChange) save(ctx context.Context, ch appliance.PrimaryChange, next ha.Step) error {
	if next.Known == nil && next.Change.Phase == ch.Phase && next.Change.To == ch.To {
		return nil
	}
	now := time.Now().UTC()
	return p.work.updateCluster(ctx, func(c *appliance.Cluster) {
		stored := next.Change
		stored.Seen = max(stored.Seen, p.ready.seen)
		c.Change = &stored
		for i := range c.Members {
			if m := &c.Members[i]; slices.Contains(stored.Tried, m.Name) && m.Name != stored.To {
				m.Return = appliance.WayClone
			}
		}
		if next.Known != nil {
			setPromoted(c, *next.Known, stored, now)
			c.Promotions[len(c.Promotions)-1].Evidence = p.work.op.Params.Reason
		}
	})
}

// setPromoted makes the promoted member the recorded primary. The old one has to be
// brought back.
func setPromoted(c *appliance.Cluster, k ha.Known, ch appliance.PrimaryChange, now time.Time) {
	c.Primary, c.Epoch, c.Timeline, c.Ancestors, c.Promise = k.Primary, k.Epoch, k.Line.Timeline, k.Line.Ancestors, k.Promise
	c.Sync = ha.Without(c.Sync, k.Primary)
	c.Promotions = append(c.Promotions, promotionOf(k, ch, now))
	for i := range c.Members {
		switch m := &c.Members[i]; m.Name {
		case k.Primary:
			m.Epoch, m.Return = k.Epoch, ""
		case ch.From:
			m.Return = appliance.WayLook
		}
	}
}

func promotionOf(k ha.Known, ch appliance.PrimaryChange, now time.Time) appliance.Promotion {
	p := appliance.Promotion{Epoch: k.Epoch, Member: k.Primary, Timeline: k.Line.Timeline, At: now, Reason: string(ch.Kind)}
	if n := len(k.Line.Ancestors); n > 0 {
		p.Switch = k.Line.Ancestors[n-1].At
	}
	return p
}

// outcome returns nil if the primary was changed, else the reason.
func outcome(c appliance.Cluster, ch appliance.PrimaryChange) error {
	switch {
	case ch.Phase == appliance.ChangeDone:
		return nil
	case ch.Why == nil && ch.Phase == appliance.ChangeCancelled:
		return appliance.NewProblem(appliance.ErrCancelled, "the %s was cancelled or took too long: %s is the primary of cluster %q as before", ch.Kind, ch.From, c.Name).
			WithHint("pgapp ps --cluster %s shows the members", c.Name)
	case ch.Why == nil:
		return appliance.NewProblem(appliance.ErrNoCandidate, "no member of cluster %q could be promoted", c.Name)
	}
	return refusal(c, ch)
}

// refusal says why nobody was promoted, and who is missing.
func refusal(c appliance.Cluster, ch appliance.PrimaryChange) error {
	var why []string
	silent := slices.DeleteFunc(slices.Clone(ch.Why.Missing), func(name string) bool { return ch.Why.Unfit[name] != "" })
	if len(silent) > 0 {
		why = append(why, "no answer from "+strings.Join(silent, ", "))
	}
	if ch.Why.Behind > 0 {
		why = append(why, fmt.Sprintf("the best candidate is %d bytes behind", uint64(ch.Why.Behind)))
	}
	// What counts is why it is not the one that was asked for.
	named := ch.Why.Reason == appliance.ErrNoCandidate && ch.Why.Unfit[ch.Wanted] != ""
	for _, name := range slices.Sorted(maps.Keys(ch.Why.Unfit)) {
		if named && name != ch.Wanted {
			continue
		}
		why = append(why, name+" "+ch.Why.Unfit[name])
	}
	if len(why) == 0 {
		why = append(why, "no standby answers")
	}
	what := "no member of cluster %q can be promoted: %s"
	if ch.Why.Reason == appliance.ErrQuorumLost {
		what = "a standby of cluster %q that may alone have acknowledged commits is missing: %s"
	}
	problem := appliance.NewProblem(ch.Why.Reason, what, c.Name, strings.Join(why, "; "))
	if ch.Kind == appliance.OpFailover && named {
		return problem.WithHint("pgapp failover --cluster %s without --to promotes the best standby", c.Name)
	}
	if ch.Kind == appliance.OpFailover {
		return problem.WithHint("start the missing members, or accept the loss: pgapp failover --allow-data-loss --cluster %s", c.Name)
	}
	return problem.WithHint("pgapp ps --cluster %s shows what is wrong with the standbys", c.Name)
}

// othersStream waits until the others stream from the new primary. One that doesn't in
// time goes on trying, and is no failure of the change.
func (p primaryChange) othersStream(from string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		return p.work.keeping(ctx, "", report, func() error { return awaitOthers(ctx, p, from, report) })
	}
}

// followersOf are the standbys that shall follow the new primary as they are.
func followersOf(c appliance.Cluster, from string) (names []string) {
	for _, m := range c.Standbys() {
		if m.Name != from && !m.WantStopped && m.Return == "" {
			names = append(names, m.Name)
		}
	}
	return names
}

// awaitOthers waits until the others stream.
func awaitOthers(ctx context.Context, p primaryChange, from string, report appliance.Report) error {
	all, err := pointRest(ctx, p, report)
	if err != nil {
		return err
	}
	var names []string
	var late error
	err = p.work.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		if names = followersOf(f.cluster, from); len(names) == 0 {
			return nil
		}
		waitCtx, cancel := context.WithTimeout(ctx, replayTimeout)
		defer cancel()
		err := pointing(waitCtx, p, all, report, func() error {
			return postgres.WaitStreamingOf(waitCtx, c, func(ctx context.Context) ([]string, error) {
				f, err := p.work.facts(ctx)
				if err == nil { // another step may have marked one that can't follow
					names = followersOf(f.cluster, from)
				}
				return names, err
			})
		})
		if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			late = err
			return nil
		}
		if err != nil {
			return err
		}
		return p.work.updateCluster(ctx, func(c *appliance.Cluster) {
			for _, n := range names {
				setReturned(c, n)
			}
		})
	})
	if err != nil || late == nil {
		return err
	}
	report(appliance.Progress{Detail: late.Error()})
	// The end of the time may have ended the session as well.
	return p.work.inPrimary(ctx, func(_ facts, c *postgres.Control) error { return p.leaveBehind(ctx, c, names) })
}

// leaveBehind marks the members that don't stream from the new primary, so that a
// rejoin brings them back.
func (p primaryChange) leaveBehind(ctx context.Context, c *postgres.Control, names []string) error {
	rows, err := c.Replication(ctx)
	if err != nil {
		return err
	}
	return p.work.updateCluster(ctx, func(c *appliance.Cluster) {
		for i := range c.Members {
			m := &c.Members[i]
			if !slices.Contains(names, m.Name) {
				continue
			}
			if slices.ContainsFunc(rows, func(r appliance.ReplicationRow) bool { return r.ApplicationName == m.Name && r.State == "streaming" }) {
				setReturned(c, m.Name)
			} else {
				m.Return = appliance.WayLook
			}
		}
	})
}
