package plan

import (
	"context"
	"slices"

	"pgapp/appliance"
)

// move restarts the primary in the middle of an operation that restarts the members one
// by one: a standby that has been restarted takes over, and the old primary comes back
// as a standby. If no standby can take over, the primary restarts in place.
//
// The change of primary goes on record when the move begins, under the operation's id.
// So a change on record says that all steps before the move are done, and a resumed
// operation repeats none of them.
type move struct {
	change primaryChange
	from   string
}

// movedBy returns the name of the primary that the operation moves, empty if it moves
// none.
func movedBy(o appliance.Operation, c appliance.Cluster) string {
	if o.Kind != appliance.OpRestart {
		return ""
	}
	if ch := c.Change; ch != nil && ch.Operation == o.ID { // begun by another build of the program
		return ch.From
	}
	if o.Params.Member != "" || o.Params.InPlace || len(c.Standbys()) == 0 {
		return ""
	}
	return c.Primary
}

// draw draws the step that moves the primary.
func (m move) draw(r *recipe, needs ...*node) *node {
	s := whole(kindChange, "move the primary away from "+m.from)
	s.FinishesCancel = true
	s.Done, s.Do = m.moved, m.do
	return r.add(s, needs...)
}

// drawReturn draws the steps behind the move: the old primary comes back, and the
// promotion gets into the data.
func (m move) drawReturn(r *recipe, standbys []appliance.Member, needs ...*node) {
	streaming := r.streamingStep(standbys, r.accessStep(needs...))
	inPlace := streaming.step.Do
	streaming.step.Do = func(ctx context.Context, report appliance.Report) error {
		moved, err := m.moved(ctx)
		switch {
		case err != nil:
			return err
		case moved:
			return m.change.othersStream(m.from)(ctx, report)
		}
		return inPlace(ctx, report)
	}
	back := rejoinStep(r, m.from, needs...)
	point := whole(kindCheckpoint, "write a checkpoint")
	point.Done, point.Do = m.stayed, m.change.checkpoint
	r.add(point, streaming, back, promiseStep(r, streaming, back))
}

// own returns the recorded change of this operation, nil if the move has not begun.
func (m move) own(ctx context.Context) (*appliance.PrimaryChange, error) {
	f, err := m.change.work.facts(ctx)
	if err != nil {
		return nil, err
	}
	return m.change.change(f.cluster), nil
}

// moved tells whether the primary has moved.
func (m move) moved(ctx context.Context) (bool, error) { return m.change.done(ctx) }

func (m move) stayed(ctx context.Context) (bool, error) {
	moved, err := m.moved(ctx)
	return !moved && err == nil, err
}

// unlessMoved leaves the step out once the primary has moved.
func (m move) unlessMoved(n *node) *node {
	done := n.step.Done
	n.step.Done = func(ctx context.Context) (bool, error) {
		if moved, err := m.moved(ctx); err != nil || moved || done == nil {
			return moved, err
		}
		return done(ctx)
	}
	return n
}

// shield leaves out the steps before the move once it has begun: they would restart
// servers again, or judge a member by the role that it is about to leave. What a reboot
// has stopped is started once the move has ended; the old primary has its own way back.
func (m move) shield(changed *node) {
	seen := map[*node]bool{}
	for left := changed.needs; len(left) > 0; {
		n := left[0]
		left = left[1:]
		if !seen[n] {
			seen[n] = true
			n.step.Done = m.unlessBegun(n.step)
			left = append(slices.Clone(left), n.needs...)
		}
	}
}

func (m move) unlessBegun(s appliance.Step) func(context.Context) (bool, error) {
	starts := (s.Kind == kindStart || s.Kind == kindPower) && s.Member != m.from
	return func(ctx context.Context) (bool, error) {
		ch, err := m.own(ctx)
		switch {
		case err != nil:
			return false, err
		case ch != nil && (!starts || !ch.Phase.Final()):
			return true, nil
		case s.Done == nil:
			return false, nil
		}
		return s.Done(ctx)
	}
}

// do moves the primary, or leaves it to be restarted in place. A repeat goes on with the
// change on record.
func (m move) do(ctx context.Context, report appliance.Report) error {
	ch, err := m.own(ctx)
	if err == nil && ch == nil {
		var begun bool
		if begun, err = m.begin(ctx, report); !begun {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err = m.change.do(ctx, report); err == nil || ctx.Err() != nil {
		return err
	}
	why, e := m.leaves(ctx, err)
	if e != nil || why == "" {
		return err
	}
	m.note(report, why)
	return nil
}

func (m move) note(report appliance.Report, why string) {
	report(appliance.Progress{Note: m.from + " is restarted in place: " + why})
}

// begin puts the change of primary on record. It returns false if the primary doesn't
// run, so that its start is all that is left to do, or if a move would take long.
func (m move) begin(ctx context.Context, report appliance.Report) (begun bool, err error) {
	w := m.change.work
	err = w.on(ctx, m.from, func(f facts, _ appliance.Member, mc appliance.Machine) error {
		running, err := mc.ServerRunning(ctx)
		if err != nil || !running || f.cluster.Primary != m.from {
			return err
		}
		if delayed(f.cluster) {
			m.note(report, "the standbys replay with a delay")
			return nil
		}
		begun = true
		return nil
	})
	if err != nil || !begun {
		return false, err
	}
	_, err = w.cfg.Store.UpdateCluster(ctx, w.op.Cluster, func(c *appliance.Cluster) error {
		if changing(*c, w.op) {
			return unfinishedChange(*c)
		}
		if c.Primary == m.from && m.change.change(*c) == nil {
			c.Change = &appliance.PrimaryChange{Operation: w.op.ID, Kind: appliance.OpSwitchover, From: m.from, Phase: appliance.ChangeLooking}
		}
		return nil
	})
	return err == nil, err
}

// leaves says why the primary stays where it is after a change that has ended with the
// error, empty if the operation has to end with that error.
func (m move) leaves(ctx context.Context, outcome error) (string, error) {
	ch, err := m.own(ctx)
	switch {
	case err != nil || ch == nil || len(ch.Tried) > 0:
		return "", err
	case ch.Phase == appliance.ChangeRefused:
		return appliance.AsProblem(outcome).Message, nil
	case ch.Phase == appliance.ChangeCancelled && !appliance.Cancelled(ctx):
		return "no standby took over in time", nil
	}
	return "", nil
}
