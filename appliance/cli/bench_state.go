package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/bench/share"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
)

const (
	// stateLimit bounds the way of a cluster into a state: virtual machines take minutes to
	// start, and a killed primary comes back as a standby.
	stateLimit = 10 * time.Minute
	// putBackLimit bounds the way back into the state from before.
	putBackLimit = 15 * time.Minute
)

// mostConflicts is how often a change may be refused since something else is under way.
const mostConflicts = 10

// reach brings the cluster into the state that is wanted of it as it is, and returns when
// all members that run stream.
func (h benchHands) reach(ctx context.Context, want func(appliance.ClusterStatus) bench.State) error {
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	conflicts := 0
	return wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		s, err := h.settled(ctx)
		if err != nil {
			return false, err
		}
		c := bench.Next(bench.StateOf(s), want(s))
		if c.Action == bench.Arrived {
			return true, nil
		}
		err = h.change(ctx, c)
		// What pgapp does by itself may have come before; then the next look decides anew.
		if conflicts < mostConflicts && (appliance.IsProblem(err, appliance.ErrConflict) || appliance.IsProblem(err, appliance.ErrOperationRunning)) {
			conflicts++
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("bringing the cluster into the state of the bench: %s %s%s: %w", c.Action, c.Member, c.Durability, err)
		}
		return false, nil
	})
}

// settled waits until nothing is under way and all members that are not stopped stream.
func (h benchHands) settled(ctx context.Context) (s appliance.ClusterStatus, err error) {
	why := "nobody has looked"
	err = wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		now, err := h.api.Status(ctx, h.cluster)
		if err != nil {
			return false, err
		}
		if now.Phase == appliance.PhaseStopped {
			return false, h.isStopped()
		}
		s, why = now, ""
		if found := drill.Whole(bench.Without(now)); len(found) > 0 {
			why = found[0].String()
		}
		return why == "", nil
	})
	if err != nil && ctx.Err() != nil && why != "" {
		err = fmt.Errorf("the cluster is not whole: %s: %w", why, err)
	}
	return s, err
}

// isStopped is the problem of a cluster that a user has stopped: a bench doesn't start it.
func (h benchHands) isStopped() error {
	return appliance.NewProblem(appliance.ErrConflict, "cluster %q is stopped", h.cluster).WithHint("pgapp start starts it")
}

// changed refuses what was measured while the cluster became another than it was when the
// measurement began, as by a switchover by hand.
func (h benchHands) changed(ctx context.Context, began appliance.ClusterStatus) error {
	now, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return err
	}
	if why := bench.Changed(began, now); why != "" {
		return appliance.NewProblem(appliance.ErrConflict, "the cluster has changed under the measurement: %s", why)
	}
	return nil
}

// unlessChanged is the error, or, where the cluster has become another than it was, says so:
// a change may be under way that has ended a server already.
func (h benchHands) unlessChanged(ctx context.Context, began appliance.ClusterStatus, err error) error {
	settling, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_, _ = h.settled(settling) // the comparison below tells what has come of it
	if changed := h.changed(ctx, began); appliance.IsProblem(changed, appliance.ErrConflict) {
		return changed
	}
	return err
}

// change makes one change by an operation, as a user would.
func (h benchHands) change(ctx context.Context, c bench.Change) error {
	var o appliance.Operation
	var err error
	switch c.Action {
	case bench.Start:
		o, err = h.api.Submit(ctx, h.cluster, appliance.OpStart, appliance.OperationParams{Member: c.Member})
	case bench.Stop:
		o, err = h.api.Submit(ctx, h.cluster, appliance.OpStop, appliance.OperationParams{Member: c.Member})
	case bench.Switchover:
		o, err = h.api.Submit(ctx, h.cluster, appliance.OpSwitchover, appliance.OperationParams{To: c.Member})
	case bench.Durability:
		o, err = h.api.Up(ctx, appliance.Spec{Name: h.cluster, Durability: c.Durability})
	case bench.Arrived:
		return nil
	}
	if err != nil {
		return err
	}
	o, err = h.api.WatchOperation(ctx, o.ID, func(appliance.Operation) {})
	switch {
	case err != nil:
		return err
	case o.State == appliance.OpSucceeded:
		return nil
	case o.Error != nil:
		return o.Error
	}
	return appliance.NewProblem(appliance.ErrConflict, "operation %s was %s", o.ID, outcome(o))
}

// putBack makes the cluster what it was before the suite, also after ctx has ended, and
// removes the bench's database. A repeat is safe. Of a cluster that is gone, or has been
// made anew, nothing is left to be put back.
func (h benchHands) putBack(ctx context.Context, before appliance.BenchBefore) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackLimit)
	defer cancel()
	unshare := unshared(ctx, share.Restore) // what killed suites have left
	s, err := h.api.Status(ctx, h.cluster)
	if appliance.IsProblem(err, appliance.ErrNotFound) || err == nil && s.UUID != before.UUID {
		return unshare
	}
	if err == nil && s.Phase == appliance.PhaseStopped {
		err = h.isStopped()
	}
	if err != nil {
		return errors.Join(unshare, err)
	}
	err = errors.Join(unshare, h.reach(ctx, func(now appliance.ClusterStatus) bench.State { return bench.Original(before, now) }))
	if left := benchBase(h).drop(ctx); left != nil {
		err = errors.Join(err, fmt.Errorf("removing database %s: %w", appliance.BenchDatabase, left))
	}
	return err
}
