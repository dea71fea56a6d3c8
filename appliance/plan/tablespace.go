package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// askLimit bounds the wait for the primary's answer. Without an answer in time, the
// step continues.
const askLimit = 5 * time.Second

// tablespaceStep draws the step that refuses, before any change, to add a standby on
// a shared machine if the primary has tablespaces. It returns nil if none can be added.
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
			return err // the clone step checks again
		}
		return r.inPrimary(ctx, func(_ facts, p *postgres.Control) error {
			return postgres.RefuseTablespaces(ctx, p, "standby "+added[0].Name)
		})
	}
	return r.add(s)
}

// readyToClone refuses tablespaces on a shared machine, and makes the standby's slot.
func readyToClone(ctx context.Context, f facts, m appliance.Member, primary *postgres.Control) error {
	if f.cluster.SharesMachine() {
		if err := postgres.RefuseTablespaces(ctx, primary, "standby "+m.Name); err != nil {
			return err
		}
	}
	return postgres.RenewSlot(ctx, primary, m.Slot)
}

// withTablespaces calls start. For a standby with its own machine, withTablespaces
// first makes a directory for each of the primary's tablespaces, because the server
// ends if replay misses one. After a failed start, withTablespaces makes the missing
// directories and calls start again, as long as it makes new ones.
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

// makeTablespaces makes the standby's missing directories for the primary's
// tablespaces and for missed, and returns the directories made. If the primary doesn't
// answer, makeTablespaces uses missed alone.
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

// loadedTablespaces draws the step that makes a load's tablespaces on the standbys.
// SQL files may create tablespaces while the standbys are cloned, or replay.
// loadedTablespaces returns nil if the step isn't needed.
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

// followTablespaces makes the directories, and starts the standbys whose server has
// ended because a directory was missing. If a directory is new, followTablespaces
// repeats the starts until the standbys catch up, or until replayTimeout. A standby
// that is late, for example by a configured delay, is no error: verify reports it.
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

// caughtUp tells whether the standbys replay the primary's WAL within askLimit.
func (w work) caughtUp(ctx context.Context, names []string) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return w.inPrimary(ctx, func(_ facts, p *postgres.Control) error { return postgres.WaitReplayed(ctx, p, names) }) == nil
}

// startEnded starts the member's server if it has ended.
func (w work) startEnded(ctx context.Context, member string, report appliance.Report) error {
	return w.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
		if running, err := mc.ServerRunning(ctx); err != nil || running {
			return err
		}
		return starter{work: w, member: member}.do(ctx, report)
	})
}
