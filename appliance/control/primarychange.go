package control

import (
	"context"

	"pgapp/appliance"
)

// changesPrimary tells whether operations of the kind begin a change of primary.
func changesPrimary(kind appliance.OperationKind) bool {
	return kind == appliance.OpSwitchover || kind == appliance.OpFailover
}

// recordOf returns the change of the record that begins with the operation, nil if
// there is none. The cluster is the record that the request was decided on.
func recordOf(c appliance.Cluster, o appliance.Operation) func(*appliance.Cluster) error {
	if !changesPrimary(o.Kind) {
		if o.Params.Reason == "" {
			return nil
		}
		return func(stored *appliance.Cluster) error {
			if err := mayActAlone(*stored, o); err != nil {
				return err
			}
			return markReturn(stored, o.Params)
		}
	}
	return func(stored *appliance.Cluster) error {
		if err := mayActAlone(*stored, o); err != nil {
			return err
		}
		if stored.Epoch != c.Epoch || stored.Primary != c.Primary {
			return appliance.NewProblem(appliance.ErrConflict, "the primary of cluster %q changed while the request was decided: it is %s in epoch %d, and was %s in epoch %d",
				c.Name, stored.Primary, stored.Epoch, c.Primary, c.Epoch).
				WithHint("pgapp ps shows the members; try again if the change is still wanted")
		}
		stored.Change = beginChange(*stored, o)
		if o.Params.WantRunning {
			wantRunning(stored)
		}
		return nil
	}
}

// markReturn records the way back of the member that the watch has found to need one.
// What the watch saw may be out of date: the member may be the primary by now, or a user
// may have stopped it.
func markReturn(c *appliance.Cluster, p appliance.OperationParams) error {
	for i := range c.Members {
		m := &c.Members[i]
		if p.Member != m.Name {
			continue
		}
		if m.Name == c.Primary || m.WantStopped {
			return appliance.NewProblem(appliance.ErrConflict, "%s of cluster %q is the primary or was stopped meanwhile", m.Name, c.Name).
				WithHint("pgapp ps --cluster %s shows the members", c.Name)
		}
		if p.Mark != "" && m.Return == "" {
			m.Return = p.Mark
		}
	}
	return nil
}

// wantRunning records that all members shall run.
func wantRunning(c *appliance.Cluster) {
	c.WantStopped, c.Phase = false, appliance.PhaseReady
	for i := range c.Members {
		c.Members[i].WantStopped = false
	}
}

// beginChange returns the change of primary that the operation makes. A failover goes
// on with a change that an ended operation has left, once that change had a candidate
// on record: what has been promoted stays promoted.
func beginChange(c appliance.Cluster, o appliance.Operation) *appliance.PrimaryChange {
	if left := unfinished(c); left != nil && o.Kind == appliance.OpFailover {
		next := *left
		next.Operation, next.Kind = o.ID, appliance.OpFailover
		next.AllowDataLoss = next.AllowDataLoss || o.Params.AllowDataLoss
		if next.To == "" {
			next.Wanted = o.Params.To
		}
		return &next
	}
	return &appliance.PrimaryChange{
		Operation: o.ID, Kind: o.Kind, From: c.Primary, Wanted: o.Params.To,
		AllowDataLoss: o.Params.AllowDataLoss, Phase: appliance.ChangeLooking,
	}
}

// unfinished returns the recorded change of primary that can only go forward and is not
// done, nil if there is none.
func unfinished(c appliance.Cluster) *appliance.PrimaryChange {
	ch := c.Change
	if ch == nil || ch.Phase.Final() || !ch.OneWay() {
		return nil
	}
	return ch
}

// mayChangePrimary refuses requests that the record rules out.
func mayChangePrimary(c appliance.Cluster, o appliance.Operation) error {
	if o.Params.AllowDataLoss && o.Kind != appliance.OpFailover {
		return appliance.NewProblem(appliance.ErrUsage, "only a failover may lose data, not a %s", o.Kind)
	}
	if o.Kind == appliance.OpRejoin {
		return mayRejoin(c, o.Params.Member)
	}
	if !changesPrimary(o.Kind) {
		return nil
	}
	left := unfinished(c)
	switch {
	case left != nil && o.Params.WantRunning:
		return nil
	case c.Phase == appliance.PhaseStopped || c.WantStopped:
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q is stopped, and its primary can't be changed", c.Name).
			WithHint("start it first: pgapp start --cluster %s", c.Name)
	case c.Phase != appliance.PhaseReady:
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q is %s, and its primary can't be changed", c.Name, c.Phase).
			WithHint("finish it first: pgapp up --cluster %s", c.Name)
	case left != nil && o.Kind == appliance.OpFailover:
		return mayGoOn(c, *left, o.Params.To)
	case left != nil:
		return appliance.NewProblem(appliance.ErrConflict, "a change of primary of cluster %q has begun and is not finished", c.Name).
			WithHint("pgapp failover --cluster %s goes on with it", c.Name)
	case o.Kind == appliance.OpSwitchover && c.PrimaryMember().WantStopped:
		return appliance.NewProblem(appliance.ErrConflict, "%s, the primary of cluster %q, is stopped", c.Primary, c.Name).
			WithHint("start it first: pgapp start %s --cluster %s; or replace it: pgapp failover --cluster %s", c.Primary, c.Name, c.Name)
	}
	return hasCandidate(c, o)
}

// mayRejoin refuses to bring back the primary, or a member of a cluster without one.
func mayRejoin(c appliance.Cluster, member string) error {
	switch {
	case member == c.Primary:
		return appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't be brought back as a standby", member, c.Name).
			WithHint("pgapp ps --cluster %s shows which members are standbys", c.Name)
	case c.Phase != appliance.PhaseReady || c.WantStopped || c.PrimaryMember().WantStopped:
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q has no running primary that a member could follow", c.Name).
			WithHint("pgapp start --cluster %s starts it", c.Name)
	}
	return nil
}

// mayGoOn refuses another member than the one that was recorded.
func mayGoOn(c appliance.Cluster, left appliance.PrimaryChange, to string) error {
	if to == "" || left.To == "" || left.To == to {
		return nil
	}
	return appliance.NewProblem(appliance.ErrConflict, "a change of primary of cluster %q to %s has begun and is not finished", c.Name, left.To).
		WithHint("pgapp failover --cluster %s without --to goes on with it", c.Name)
}

// hasCandidate refuses a request whose wanted member, or every standby, can't become
// the primary by what the record says.
func hasCandidate(c appliance.Cluster, o appliance.Operation) error {
	if len(c.Standbys()) == 0 {
		return appliance.NewProblem(appliance.ErrNoCandidate, "cluster %q has no standby that could become the primary", c.Name).
			WithHint("pgapp scale --standbys 2 --cluster %s adds some", c.Name)
	}
	if to := o.Params.To; to != "" {
		m, ok := c.Member(to)
		if !ok {
			return appliance.NoMember(c.Name, to)
		}
		if to == c.Primary {
			return appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q already", to, c.Name).
				WithHint("pgapp ps --cluster %s shows which members are standbys", c.Name)
		}
		return barred(c, m)
	}
	var first error
	for _, m := range c.Standbys() {
		err := barred(c, m)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// barred says why the standby can't become the primary by what the record says, nil
// if it can.
func barred(c appliance.Cluster, m appliance.Member) error {
	switch {
	case m.WantStopped:
		return appliance.NewProblem(appliance.ErrConflict, "%s of cluster %q is stopped and can't become the primary", m.Name, c.Name).
			WithHint("start it first: pgapp start %s --cluster %s", m.Name, c.Name)
	case m.Return != "":
		return appliance.NewProblem(appliance.ErrConflict, "%s of cluster %q has to be brought back before it can become the primary", m.Name, c.Name).
			WithHint("pgapp rejoin %s --cluster %s brings it back", m.Name, c.Name)
	}
	return nil
}

// lookAhead refuses the request by the record and by looks at the members, before the
// operation begins. It returns the record, completed by what the looks found.
func (cfg Config) lookAhead(ctx context.Context, r appliance.Cluster, o appliance.Operation) (appliance.Cluster, error) {
	if err := mayChangePrimary(r, o); err != nil {
		return r, err
	}
	if !changesPrimary(o.Kind) && o.Kind != appliance.OpStart && o.Kind != appliance.OpRejoin && o.Kind != appliance.OpRestart {
		return r, nil
	}
	replaces := o.Kind == appliance.OpFailover && unfinished(r) == nil
	silent := ""
	needless := replaces || o.Params.Fence || o.Kind == appliance.OpStart && o.Params.Member != ""
	if needless && o.Params.Reason != "" && r.Timeline != 0 { // the watch has just found it dead or ill, by its looks
		silent, replaces = r.Primary, false
	}
	healthy := make(chan error, 1)
	if replaces { // a silent primary costs its limit once
		go func() { healthy <- cfg.refuseHealthy(ctx, r, o.Params.AllowDataLoss) }()
	} else {
		healthy <- nil
	}
	looks, err := cfg.checkNewerBut(ctx, r, silent)
	refused := <-healthy
	if err != nil {
		return r, err
	}
	if r, err = cfg.takeOver(ctx, r, looks); err != nil {
		return r, err
	}
	return r, refused
}
