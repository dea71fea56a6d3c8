package plan

import (
	"context"
	"errors"
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// The steps that bring a member back as a standby.
const (
	kindWay      appliance.StepKind = "way"
	kindRejoin   appliance.StepKind = "rejoin"
	kindReturned appliance.StepKind = "returned"
	kindMarked   appliance.StepKind = "marked"
)

// rejoin brings one member back as a standby of the recorded primary.
type rejoin struct {
	work   work
	member string
}

// rejoinStep draws the steps that bring the member back as a standby of the recorded
// primary, and returns the last. The steps take no notice of a member that has no way
// back on record.
//
// The way is a step of its own, so that what the member will lose is in the journal
// before anything of it is lost.
func rejoinStep(r *recipe, member string, needs ...*node) *node {
	j := rejoin{r.work, member}
	s := each(kindRejoin, member, "bring it back as a standby")
	way := wayStep(r, member, needs...)
	s.Done, s.Do = j.returned, j.do
	return r.add(s, way)
}

// wayStep draws the step that finds out how the member comes back.
func wayStep(r *recipe, member string, needs ...*node) *node {
	j := rejoin{r.work, member}
	way := each(kindWay, member, "look how it comes back")
	way.Done, way.Do = j.returned, j.choose
	return r.add(way, needs...)
}

// drawRejoin draws the steps that bring back one member, or all members that have a way
// back on record and that the user has not stopped.
func drawRejoin(r *recipe, c appliance.Cluster, member string) error {
	alone := r.op.Params.Reason != "" // begun by pgapp itself
	if member == "" && alone {        // nothing but the promise, which commits may wait for
		promiseStep(r)
		return nil
	}
	if member == "" {
		var back []*node
		for _, m := range c.Standbys() {
			if !m.WantStopped {
				back = append(back, rejoinStep(r, m.Name))
			}
		}
		promiseStep(r, back...)
		return nil
	}
	m, err := memberOf(c, member)
	if err != nil {
		return err
	}
	if m.Name == c.Primary {
		return appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't follow itself", m.Name, c.Name).
			WithHint("pgapp ps shows which members are standbys")
	}
	if alone { // the user wanted it running
		promiseStep(r, rejoinStep(r, m.Name))
		return nil
	}
	promiseStep(r, rejoinStep(r, m.Name, r.intent(m.Name, false)))
	return nil
}

// returned tells whether the record has no way back for the member. The record alone
// decides: a server that runs may be the old primary that somebody started.
func (j rejoin) returned(ctx context.Context) (bool, error) {
	f, err := j.work.facts(ctx)
	if err != nil {
		return false, err
	}
	m, err := memberOf(f.cluster, j.member)
	return err == nil && m.Return == "", err
}

// set changes the member's record.
func (j rejoin) set(ctx context.Context, change func(*appliance.Cluster, *appliance.Member)) error {
	return j.work.updateCluster(ctx, func(c *appliance.Cluster) { changeMember(c, j.member, change) })
}

func changeMember(c *appliance.Cluster, member string, change func(*appliance.Cluster, *appliance.Member)) {
	for i := range c.Members {
		if c.Members[i].Name == member {
			change(c, &c.Members[i])
		}
	}
}

// setReturned records that the member streams from the recorded primary.
func setReturned(c *appliance.Cluster, member string) {
	changeMember(c, member, func(c *appliance.Cluster, m *appliance.Member) { m.Return, m.Epoch = "", c.Epoch })
}

// setPrepared records that the member's data directory was made from the recorded
// primary, and has to follow it.
func setPrepared(c *appliance.Cluster, m *appliance.Member) {
	m.Return, m.Epoch = appliance.WayFollow, c.Epoch
}

// prepared tells whether setPrepared was recorded in this epoch.
func prepared(c appliance.Cluster, m appliance.Member) bool {
	return m.Return == appliance.WayFollow && m.Epoch == c.Epoch
}

func setClone(_ *appliance.Cluster, m *appliance.Member) { m.Return = appliance.WayClone }

// do brings the member back by the way on record. A repeat after a kill at any point
// goes on: a rewind that has begun becomes a clone, and a server that an earlier attempt
// has started is started again.
func (j rejoin) do(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		if m.Return == appliance.WayLook {
			return appliance.NewProblem(appliance.ErrConflict, "how member %s comes back was not looked at", m.Name).
				WithHint("pgapp rejoin %s looks again", m.Name)
		}
		if err := j.work.stopMember(ctx, f.cluster, m, mc, report); err != nil {
			return err
		}
		err := j.work.keeping(ctx, m.Name, report, func() error { return j.goBack(ctx, m.Return, report) })
		if err != nil {
			return err
		}
		if err := postgres.DropAside(ctx, mc); err != nil {
			return err
		}
		return j.work.updateCluster(ctx, func(c *appliance.Cluster) { setReturned(c, j.member) })
	})
}

// goBack takes the way, and clones the member if another way turns out to be closed.
func (j rejoin) goBack(ctx context.Context, way appliance.WayBack, report appliance.Report) error {
	var err error
	switch way {
	case appliance.WayRewind:
		err = j.rewind(ctx, report)
		if err == nil {
			err = j.follow(ctx, report)
		}
		if err == nil || !cloneMends(ctx, err, appliance.ErrRewind, appliance.ErrPostgresStart, appliance.ErrReplication) {
			return err
		}
	case appliance.WayFollow:
		err = j.handedOver(ctx, report)
		if err == nil {
			err = j.follow(ctx, report)
		}
		if err == nil || !cloneMends(ctx, err, appliance.ErrReplication) {
			return err
		}
	}
	if err != nil {
		report(appliance.Progress{Detail: "cloning it, since " + appliance.AsProblem(err).Message})
		if err := j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			if err := j.work.stopMember(ctx, f.cluster, m, mc, report); err != nil {
				return err
			}
			if err := j.set(ctx, setClone); err != nil {
				return err
			}
			return postgres.DropClone(ctx, mc) // or it would be taken for the new one
		}); err != nil {
			return err
		}
	}
	if err := j.clone(ctx, report); err != nil {
		return err
	}
	return j.follow(ctx, report)
}

// cloneMends tells whether the error is of a kind that a clone may mend.
func cloneMends(ctx context.Context, err error, kinds ...appliance.ErrorID) bool {
	if ctx.Err() != nil {
		return false
	}
	for _, k := range kinds {
		if appliance.IsProblem(err, k) {
			return true
		}
	}
	return false
}

// handedOver hands the primary's timeline over to the stopped member, whose WAL was compared,
// and records that the member has it from there.
func (j rejoin) handedOver(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(_ facts, m appliance.Member, mc appliance.Machine) error {
		if !j.work.handOver(ctx, m, mc, report) {
			return nil
		}
		return j.set(ctx, setPrepared)
	})
}

// rewind makes the stopped member's data directory the primary's by pg_rewind.
func (j rejoin) rewind(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		err := postgres.Rewind(ctx, mc, postgres.RewindOptions{
			Source: f.upstream(m), Member: m.Name, Password: f.secrets.Get(appliance.SecretRewind),
		}, report)
		if err != nil {
			return err
		}
		if err := j.set(ctx, setPrepared); err != nil {
			return err
		}
		return postgres.RewindEnded(ctx, mc)
	})
}

// clone clones the stopped member beside its old data directory. If the clone fails,
// the old directory is put back.
//
// Members of a cluster are cloned one after the other, so that the primary and the disks
// carry the load of one clone at most.
func (j rejoin) clone(ctx context.Context, report appliance.Report) error {
	select {
	case j.work.cloning <- struct{}{}:
		defer func() { <-j.work.cloning }()
	default:
		report(appliance.Progress{Detail: "waiting for the clone of another member"})
		select {
		case j.work.cloning <- struct{}{}:
			defer func() { <-j.work.cloning }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return j.work.on(ctx, j.member, func(_ facts, m appliance.Member, mc appliance.Machine) error {
		if err := postgres.KillRewind(ctx, mc); err != nil {
			return err
		}
		kept, err := postgres.SetAside(ctx, mc)
		if err != nil {
			return err
		}
		if !kept {
			report(appliance.Progress{Detail: "removing the old data directory, whose tablespaces are in the clone's place"})
			if err := postgres.RemoveDataDir(ctx, mc); err != nil {
				return err
			}
		}
		if err := j.work.clone(m.Name)(ctx, report); err != nil {
			return j.putBack(ctx, mc, err)
		}
		if err := postgres.RewindEnded(ctx, mc); err != nil {
			return err
		}
		return j.set(ctx, setPrepared)
	})
}

// putBack returns the old data directory to its place, and the clone's error. A clone
// that was interrupted is left for the repeat.
func (j rejoin) putBack(ctx context.Context, mc appliance.Machine, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if e := postgres.PutBack(ctx, mc); e != nil {
		return errors.Join(err, e)
	}
	return fmt.Errorf("%w; the old data directory of member %q is kept", err, j.member)
}

// follow starts the stopped member as a standby, and waits until it streams. The WAL that
// comes may ask for higher limits than the directory did: the member then starts again.
func (j rejoin) follow(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		d, err := postgres.InspectDataDir(ctx, mc)
		if err != nil {
			return err
		}
		err = j.followOnce(ctx, report)
		if err == nil || ctx.Err() != nil || raised(ctx, mc, d.Limits) == "" {
			return err
		}
		report(appliance.Progress{Detail: "starting it again with a higher " + raised(ctx, mc, d.Limits)})
		if err := j.work.stopMember(ctx, f.cluster, m, mc, report); err != nil {
			return err
		}
		return j.followOnce(ctx, report)
	})
}

func (j rejoin) followOnce(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		if err := j.configure(ctx, f, m, mc); err != nil {
			return err
		}
		if err := j.work.keepWAL(ctx, m); err != nil {
			return err
		}
		if err := j.work.createSlots(ctx, report); err != nil {
			return err
		}
		err := j.work.withTablespaces(ctx, f.cluster, m, mc, func() error {
			if err := mc.StartServer(ctx); err != nil {
				return err
			}
			return unlessStuck(ctx, []string{m.Name}, either(j.work.lacksWAL(f), j.work.lostSlot(f)), func(ctx context.Context) error {
				return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
			})
		})
		if err != nil {
			return err
		}
		err = j.work.inPrimary(ctx, func(f facts, c *postgres.Control) error {
			if delayed(f.cluster) {
				return unlessStuck(ctx, []string{m.Name}, either(j.work.ends(f), j.work.lacksWAL(f)), func(ctx context.Context) error {
					return j.work.waitDelayed(ctx, f, c, []string{m.Name}, report)
				})
			}
			return j.work.waitMoving(ctx, f, c, []string{m.Name})
		})
		if err != nil {
			return err
		}
		return prepareSlots(ctx, j.work.world, m.Name)
	})
}

// configure writes the stopped member's configuration files as a standby's, and removes
// the slots that it had as the primary.
func (j rejoin) configure(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return err
	}
	own, err := ownDataDir(f.cluster, m.Name, mc, d)
	if err != nil {
		return err
	}
	if !own {
		return appliance.NewProblem(appliance.ErrPostgresStart, "member %s has no data directory", m.Name).
			WithHint("pgapp reinit %s clones it anew", m.Name)
	}
	if err := configure(ctx, f, m, mc, d.Limits); err != nil {
		return err
	}
	return postgres.RemoveSlots(ctx, mc, slotsOf(f.cluster))
}
