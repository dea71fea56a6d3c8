package control

import (
	"context"
	"time"

	"pgapp/appliance"
)

// Pauses begins and ends the users' pauses of what pgapp does by itself. A pause is no
// operation: it is in force when the call returns, also while an operation runs, which
// goes on.
type Pauses struct {
	store    Records
	settings Settings
}

// Records is what pauses need of the store.
type Records interface {
	UpdateCluster(ctx context.Context, name string, change func(*appliance.Cluster) error) (appliance.Cluster, error)
}

// NewPauses makes pauses on the store.
func NewPauses(store Records, settings Settings) *Pauses { return &Pauses{store, settings} }

// Pause keeps pgapp from acting by itself on the cluster for that time, or until
// [Pauses.Resume] if it is 0. A repeat sets the pause's end anew.
func (p *Pauses) Pause(ctx context.Context, cluster string, lasts time.Duration) (appliance.Automation, error) {
	now := time.Now().UTC()
	return p.set(ctx, cluster, now, func(c *appliance.Cluster) {
		next := &appliance.Pause{Since: now}
		if c.Pause.Holds(now) {
			next.Since = c.Pause.Since
		}
		if lasts > 0 {
			until := now.Add(lasts)
			next.Until = &until
		}
		c.Pause = next
	})
}

// Resume ends the cluster's pause, if there is one. Failovers so far do not count any
// more towards the limit after which a person has to look. A repeat is safe.
func (p *Pauses) Resume(ctx context.Context, cluster string) (appliance.Automation, error) {
	now := time.Now().UTC()
	return p.set(ctx, cluster, now, func(c *appliance.Cluster) { c.Pause, c.Resumed = nil, &now })
}

func (p *Pauses) set(ctx context.Context, cluster string, now time.Time, change func(*appliance.Cluster)) (appliance.Automation, error) {
	o, err := GetObserveOnly(ctx, p.settings)
	if err != nil {
		return appliance.Automation{}, err
	}
	c, err := p.store.UpdateCluster(ctx, cluster, func(c *appliance.Cluster) error {
		if c.Spec.Automatic == appliance.AutomaticOff {
			return appliance.NewProblem(appliance.ErrConflict, "pgapp does nothing by itself for cluster %q: its spec has automatic off", cluster).
				WithHint("pgapp up --cluster %s --automatic on changes that", cluster)
		}
		change(c)
		return nil
	})
	if err != nil {
		return appliance.Automation{}, clusterNotFound(err, cluster)
	}
	return automationOf(c, len(o.Clusters) > 0, now), nil
}

// automationOf tells whether pgapp keeps the cluster by itself at that time. The record
// says it, and not the last look at the members, so that a pause is seen at once.
func automationOf(c appliance.Cluster, observing bool, now time.Time) appliance.Automation {
	out := appliance.Automation{Automatic: appliance.AutomaticOn}
	if c.Pause.Holds(now) {
		out.Automatic, out.Pause = appliance.AutomaticPaused, c.Pause
	}
	switch {
	case c.Spec.Automatic == appliance.AutomaticOff:
		return appliance.Automation{Automatic: appliance.AutomaticOff}
	case observing:
		out.Automatic = appliance.AutomaticObserving
	}
	return out
}

// mayActAlone refuses an operation that pgapp begins by itself while a pause holds. It is
// asked in the transaction that begins the operation, so that none begins after the
// answer to the user.
func mayActAlone(c appliance.Cluster, o appliance.Operation) error {
	if o.Params.Reason == "" || !c.Pause.Holds(time.Now()) {
		return nil
	}
	return appliance.NewProblem(appliance.ErrConflict, "pgapp does nothing by itself for cluster %q: a user has paused it", c.Name).
		WithHint("pgapp resume --cluster %s ends the pause", c.Name)
}

// addAutomation adds to the status whether pgapp keeps the cluster by itself, and what it
// would do.
func (cfg Config) addAutomation(ctx context.Context, s *appliance.ClusterStatus, r appliance.Cluster) error {
	var o ObserveOnly
	var err error
	if cfg.Settings != nil {
		if o, err = GetObserveOnly(ctx, cfg.Settings); err != nil {
			return err
		}
	}
	a := automationOf(r, len(o.Clusters) > 0, time.Now())
	s.Automatic, s.Pause = a.Automatic, a.Pause
	// Only a ready cluster is watched: what was found out before may be of an earlier
	// cluster of that name.
	watched := s.Automatic != appliance.AutomaticOff && r.Phase == appliance.PhaseReady && !r.WantStopped
	if cfg.Watching != nil && watched {
		s.Doubts = cfg.Watching(r.Name).Doubts
	}
	return nil
}
