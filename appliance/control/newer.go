package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/observe"
)

// checkNewer looks whether any member's data know of a change of primary that the
// record doesn't: then the record is from before, as in a home that was copied back.
// checkNewer then makes pgapp only observe, and returns that problem. A member that
// can't be looked at proves nothing. The looks are returned.
func (cfg Config) checkNewer(ctx context.Context, r appliance.Cluster) ([]observe.Look, error) {
	return cfg.checkNewerBut(ctx, r, "")
}

// checkNewerBut is checkNewer without a look at one member, of which the watch knows that it
// answers nobody.
func (cfg Config) checkNewerBut(ctx context.Context, r appliance.Cluster, silent string) ([]observe.Look, error) {
	subjects, err := cfg.subjects(ctx, r)
	if err != nil || cfg.Settings == nil {
		return nil, err
	}
	subjects = slices.DeleteFunc(subjects, func(s observe.Subject) bool { return s.Member.Name == silent })
	look := cfg.Observer.Known
	if silent != "" {
		look = cfg.Observer.KnownSoon
	}
	looks := look(ctx, subjects)
	reason := newer(r, looks)
	if reason == "" || ctx.Err() != nil {
		return looks, ctx.Err()
	}
	o, err := GetObserveOnly(ctx, cfg.Settings)
	if err != nil {
		return looks, err
	}
	if !slices.Contains(o.Clusters, r.Name) {
		if len(o.Clusters) == 0 {
			o.Reason, o.Since = reason, time.Now().UTC()
		}
		o.Clusters = append(o.Clusters, r.Name)
		if err := SetObserveOnly(ctx, cfg.Settings, o); err != nil {
			return looks, err
		}
		cfg.Log.Error("from now on pgapp only observes", "reason", reason)
	}
	return looks, observingProblem(o)
}

func (cfg Config) subjects(ctx context.Context, r appliance.Cluster) ([]observe.Subject, error) {
	provider, ok := cfg.Providers[r.Spec.Provider]
	if !ok {
		return nil, nil
	}
	secrets, err := cfg.Store.Secrets(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	return observe.Subjects(r, provider, secrets), nil
}

// newer says which member knows of a later change of primary than the record, or
// nothing. A change that is under way may be further in the data than on record, and of a
// member that has to be brought back the record knows that it may have a timeline of its
// own.
func newer(r appliance.Cluster, looks []observe.Look) string {
	epoch, timeline := r.Epoch, r.Timeline
	if ch := unfinished(r); ch != nil {
		epoch, timeline = max(ch.Epoch, r.Epoch+1+uint64(len(ch.Tried))), 0
	}
	if n := len(r.Promotions); n > 0 && r.Promotions[n-1].Timeline == 0 { // a start that promotes was interrupted
		timeline = 0
	}
	for _, l := range looks {
		if known := l.Epoch.Value(); known > epoch {
			return fmt.Sprintf("%s of cluster %q knows of epoch %d, and the state of this home is from epoch %d", l.Member.Name, r.Name, known, r.Epoch)
		}
		if known := l.DataDir.Value().Timeline; timeline != 0 && known > timeline && l.Member.Return == "" {
			return fmt.Sprintf("%s of cluster %q is on timeline %d, and the state of this home knows timeline %d in epoch %d", l.Member.Name, r.Name, known, timeline, r.Epoch)
		}
	}
	return ""
}

// lineOf returns the cluster's line by the looks, for a record that has none, as those
// of older programs: the primary's, or that of a standby if the primary is silent.
func (cfg Config) lineOf(ctx context.Context, r appliance.Cluster, looks []observe.Look) (appliance.Line, error) {
	best := -1
	for i, l := range looks {
		if l.Timeline() != 0 && (best < 0 || l.Primary && l.Server.Known() || !looks[best].Primary && l.Timeline() > looks[best].Timeline()) {
			best = i
		}
	}
	if best < 0 {
		return appliance.Line{}, nil
	}
	subjects, err := cfg.subjects(ctx, r)
	if err != nil {
		return appliance.Line{}, err
	}
	return cfg.Observer.Line(ctx, subjects[best], looks[best].Timeline())
}

// takeOver adds the line to a record that has none.
func (cfg Config) takeOver(ctx context.Context, r appliance.Cluster, looks []observe.Look) (appliance.Cluster, error) {
	if r.Timeline != 0 {
		return r, nil
	}
	line, err := cfg.lineOf(ctx, r, looks)
	if err != nil || line.Timeline == 0 {
		return r, err
	}
	return cfg.Store.UpdateCluster(ctx, r.Name, func(c *appliance.Cluster) error {
		if c.Timeline == 0 && c.Epoch == r.Epoch {
			c.Timeline, c.Ancestors = line.Timeline, line.Ancestors
		}
		return nil
	})
}

// refuseHealthy refuses the failover of a primary that works. A primary that doesn't
// answer may live, and so may one that is cut off from its standbys, whose commits wait:
// the failover fences it before it promotes another. Where nothing is promised, commits
// don't wait for standbys: then the user decides whether they may be lost.
func (cfg Config) refuseHealthy(ctx context.Context, r appliance.Cluster, lossAllowed bool) error {
	subjects, err := cfg.subjects(ctx, r)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if !s.Primary {
			continue
		}
		asked := r.Promise
		if asked.None() {
			asked = anyStandby(r)
		}
		switch err := cfg.Observer.Serves(ctx, s, asked); {
		case err == nil:
			return appliance.NewProblem(appliance.ErrConflict, "%s, the primary of cluster %q, answers and takes writes", r.Primary, r.Name).
				WithHint("pgapp switchover --cluster %s moves the primary without loss", r.Name)
		case r.Promise.None() && errors.Is(err, observe.ErrUnconfirmed) && !lossAllowed:
			return appliance.NewProblem(appliance.ErrConflict, "%s, the primary of cluster %q, answers and takes writes, and no standby receives them: a failover may lose what it has written since", r.Primary, r.Name).
				WithHint("mend the connection to the standbys, which pgapp ps --cluster %s shows; or accept the loss: pgapp failover --allow-data-loss --cluster %s", r.Name, r.Name)
		}
	}
	return ctx.Err()
}

// anyStandby is a promise of one of the standbys that should stream, none if there are
// none.
func anyStandby(r appliance.Cluster) appliance.Promise {
	var names []string
	for _, m := range r.Standbys() {
		if !m.WantStopped && m.Return == "" {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return appliance.Promise{}
	}
	return appliance.Promise{Set: names, K: 1}
}

// recoverKnown looks at all clusters before the daemon starts or changes anything. It
// tells whether pgapp only observes from now on. A cluster that can't be looked at is
// looked at again before an operation begins.
func (cfg Config) recoverKnown(ctx context.Context, clusters []appliance.Cluster) (observing bool) {
	for _, r := range clusters {
		if r.Phase == appliance.PhaseCreating || r.Phase == appliance.PhaseRemoving {
			continue
		}
		looks, err := cfg.checkNewer(ctx, r)
		if err == nil {
			_, err = cfg.takeOver(ctx, r, looks)
		}
		if err != nil {
			cfg.Log.Warn("looking at a cluster before anything is changed", "cluster", r.Name, "error", err)
		}
		observing = observing || appliance.IsProblem(err, appliance.ErrConflict)
	}
	return observing
}
