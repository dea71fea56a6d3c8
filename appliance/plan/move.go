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
	// waits tells whether the primary waits for a restart, and why it can't move, empty
	// if it can. Nil stands for a primary that is restarted in any case.
	waits func(context.Context, facts, appliance.Member, appliance.Machine) (waits bool, stays string, err error)
}

func newMove(w work, from string) move { return move{change: newPrimaryChange(w), from: from} }

// movedBy returns the name of the primary that the operation moves, empty if it moves
// none.
func movedBy(o appliance.Operation, c appliance.Cluster) string {
	moves := false
	switch o.Kind {
	case appliance.OpRestart:
		moves = o.Params.Member == "" && !o.Params.InPlace
	case appliance.OpUp:
		moves = c.Phase == appliance.PhaseReady && restartsOnly(o.Params.Change)
	}
	ch := c.Change
	switch {
	case !moves || len(c.Standbys()) == 0:
		return ""
	case ch != nil && ch.Operation == o.ID: // begun by another build of the program
		return ch.From
	}
	return c.Primary
}

// restartsOnly tells whether the change sets parameters, some of them by a restart, and
// besides adds members at most, which are cloned after the restart. If members go or
// change their size too, the primary restarts in place.
func restartsOnly(ch *appliance.Change) bool {
	return ch != nil && len(ch.Restart) > 0 && len(ch.Remove) == 0 && ch.Size == nil
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
	m.drawPoint(r, streaming, back, promiseStep(r, streaming, back))
}

// drawPoint draws the last step of the move, see [primaryChange.checkpoint].
func (m move) drawPoint(r *recipe, needs ...*node) {
	s := whole(kindCheckpoint, "write a checkpoint")
	s.Done, s.Do = m.stayed, m.change.checkpoint
	r.add(s, needs...)
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
	starts := slices.Contains([]appliance.StepKind{appliance.StepMachine, kindPower, kindStart}, s.Kind) && s.Member != m.from
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
// run, so that its start is all that is left to do, needs no restart, or can't move.
func (m move) begin(ctx context.Context, report appliance.Report) (begun bool, err error) {
	w := m.change.work
	err = w.on(ctx, m.from, func(f facts, member appliance.Member, mc appliance.Machine) error {
		waits, err := mc.ServerRunning(ctx)
		if err != nil || !waits || f.cluster.Primary != m.from {
			return err
		}
		stays := ""
		if m.waits != nil {
			if waits, stays, err = m.waits(ctx, f, member, mc); err != nil || !waits {
				return err
			}
		}
		if delayed(f.cluster) {
			stays = "the standbys replay with a delay"
		}
		if begun = stays == ""; !begun {
			m.note(report, stays)
		}
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
