package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// askLimit is how long the primary may take to answer before the work goes on
// without.
const askLimit = 5 * time.Second

// tablespaceStep refuses, before anything is changed, a standby beside
// tablespaces on one machine.
func (r *recipe) tablespaceStep(c appliance.Cluster, added []appliance.Member) *node {
	if !c.SharesMachine() || len(added) == 0 || c.Phase == appliance.PhaseCreating {
		return nil
	}
	s := whole(kindTablespaces, "look for tablespaces")
	s.Member = c.Primary
	s.Do = func(ctx context.Context, _ appliance.Report) error {
		f, err := r.facts(ctx)
		if err != nil {
			return err
		}
		mc := r.provider.Machine(f.cluster, f.cluster.PrimaryMember())
		if running, err := mc.ServerRunning(ctx); err != nil || !running {
			return err // the clone asks again
		}
		return r.inPrimary(ctx, func(_ facts, p *postgres.Control) error {
			return postgres.RefuseTablespaces(ctx, p, "standby "+added[0].Name)
		})
	}
	return r.add(s)
}

// readyToClone looks for what forbids a clone, and makes its slot.
func readyToClone(ctx context.Context, f facts, m appliance.Member, primary *postgres.Control) error {
	if f.cluster.SharesMachine() {
		if err := postgres.RefuseTablespaces(ctx, primary, "standby "+m.Name); err != nil {
			return err
		}
	}
	return postgres.EnsureSlot(ctx, primary, m.Slot)
}

// withTablespaces starts a standby whose machine is its own, with a directory for
// each of the primary's tablespaces: replay ends where one is missing. One that
// was made meanwhile is worth another start.
func (w work) withTablespaces(ctx context.Context, c appliance.Cluster, m appliance.Member, mc appliance.Machine, start func() error) error {
	dirs, own := mc.(appliance.DirMaker)
	if !own || m.Name == c.Primary {
		return start()
	}
	if _, err := w.makeTablespaces(ctx, dirs, nil); err != nil {
		return err
	}
	for {
		err := start()
		if err == nil || ctx.Err() != nil {
			return err
		}
		made, madeErr := w.makeTablespaces(ctx, dirs, postgres.MissingTablespaces(err))
		if madeErr != nil || len(made) == 0 {
			return errors.Join(err, madeErr)
		}
	}
}

// makeTablespaces makes what the standby lacks of the primary's tablespaces, and
// of those that it has missed. A primary that doesn't answer is no reason
// against a start.
func (w work) makeTablespaces(ctx context.Context, dirs appliance.DirMaker, missed []string) ([]string, error) {
	locations, err := w.primaryTablespaces(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return postgres.MakeTablespaceDirs(ctx, dirs, append(locations, missed...))
}

func (w work) primaryTablespaces(ctx context.Context) (locations []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	err = w.inPrimary(ctx, func(_ facts, p *postgres.Control) (err error) {
		locations, err = p.TablespaceLocations(ctx)
		return err
	})
	return locations, err
}

// loadedTablespaces is the step after a load from files, which may make
// tablespaces while the standbys are cloned or replay already. It is nil where
// there is no such load.
func (r *recipe) loadedTablespaces(c appliance.Cluster, standbys []appliance.Member, needs ...*node) *node {
	if c.SharesMachine() || len(c.Spec.SQL) == 0 || len(standbys) == 0 {
		return nil
	}
	s := whole(kindTablespaces, "make the loaded tablespaces on the standbys")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		locations, err := r.primaryTablespaces(ctx)
		if err != nil || len(locations) == 0 {
			return err
		}
		return r.followTablespaces(ctx, standbys, locations, report)
	}
	return r.add(s, needs...)
}

// followTablespaces makes the directories, and starts the standbys whose replay
// has met one too early: also one that was about to when it was made. Where one
// doesn't catch up in time, verify says why; it may be delayed by its user.
func (w work) followTablespaces(ctx context.Context, standbys []appliance.Member, locations []string, report appliance.Report) error {
	var names []string
	anew := false
	for _, m := range standbys {
		names = append(names, m.Name)
		if err := w.on(ctx, m.Name, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
			dirs, own := mc.(appliance.DirMaker)
			if !own {
				return nil
			}
			made, err := postgres.MakeTablespaceDirs(ctx, dirs, locations)
			anew = anew || len(made) > 0
			return err
		}); err != nil {
			return err
		}
	}
	limit, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	for {
		for _, name := range names {
			if err := w.startEnded(ctx, name, report); err != nil {
				return err
			}
		}
		if !anew || limit.Err() != nil || w.caughtUp(limit, names) {
			return ctx.Err()
		}
	}
}

// caughtUp waits a little for the standbys to replay what the primary has.
func (w work) caughtUp(ctx context.Context, names []string) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return w.inPrimary(ctx, func(_ facts, p *postgres.Control) error { return postgres.WaitReplayed(ctx, p, names) }) == nil
}

// startEnded starts the member's server where it has ended.
func (w work) startEnded(ctx context.Context, member string, report appliance.Report) error {
	return w.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
		if running, err := mc.ServerRunning(ctx); err != nil || running {
			return err
		}
		return w.startServer(member, false)(ctx, report)
	})
}
