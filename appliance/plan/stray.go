package plan

import (
	"context"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

// wakeTimeout bounds the wake of one standby, which also wakes by itself, only later.
const wakeTimeout = 2 * time.Second

// changing tells whether another operation's change of primary can only go forward and
// is not done: a start could bring back a member that the change takes for dead.
func changing(c appliance.Cluster, o appliance.Operation) bool {
	ch := c.Change
	return ch != nil && !ch.Phase.Final() && ch.OneWay() && ch.Operation != o.ID
}

// unfinishedChange is the conflict of a start with a change of primary.
func unfinishedChange(c appliance.Cluster) error {
	return appliance.NewProblem(appliance.ErrConflict, "operation %s has begun to replace %s, the primary of cluster %q, and is not done", c.Change.Operation, c.Change.From, c.Name).
		WithHint("pgapp failover --cluster %s goes on with it", c.Name)
}

// marked leaves a member alone that has to be brought back first, except that it may
// not take writes beside the primary. Up brings such a member back.
func (s starter) marked(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	if s.work.op.Kind == appliance.OpUp {
		return rejoin{s.work, m.Name}.do(ctx, report)
	}
	running, err := mc.ServerRunning(ctx)
	if err != nil {
		return err
	}
	if running {
		if seen, err := s.seen(ctx, f, m); err == nil && !seen.InRecovery {
			return s.stray(ctx, f, m, mc, report)
		}
	}
	return s.leave(f, m, "it has to be brought back first", report)
}

// mark records that the member has to be brought back before it may run.
func (s starter) mark(ctx context.Context) error {
	return s.work.updateCluster(ctx, func(c *appliance.Cluster) {
		for i := range c.Members {
			if m := &c.Members[i]; m.Name == s.member && m.Return == "" {
				m.Return = appliance.WayLook
			}
		}
	})
}

// leave reports that the member is not started, which is an error if the user named it.
func (s starter) leave(f facts, m appliance.Member, why string, report appliance.Report) error {
	if p := s.work.op.Params; p.Member == m.Name && p.Reason == "" {
		return appliance.NewProblem(appliance.ErrConflict, "%s of cluster %q is not started: %s", m.Name, f.cluster.Name, why).
			WithHint("pgapp rejoin %s --cluster %s brings it back as a standby", m.Name, f.cluster.Name)
	}
	report(appliance.Progress{Detail: "not started: " + why + ": pgapp rejoin " + m.Name})
	return nil
}

// stray fences a recorded standby that takes writes beside the primary. If it does so
// alone, it may be the real primary, and nothing is touched.
func (s starter) stray(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	primary := s.looks(ctx, f, func(name string) bool { return name == f.cluster.Primary })
	if !slices.ContainsFunc(primary, writes) {
		return foreignPrimary(f.cluster, m.Name)
	}
	report(appliance.Progress{Detail: "it takes writes beside the primary: ending it"})
	if err := s.mark(ctx); err != nil {
		return err
	}
	if err := mc.Fence(ctx); err != nil {
		return err
	}
	if m.Placement != appliance.PlacementVM { // a fenced VM is off
		if err := postgres.MarkStandby(ctx, mc); err != nil {
			return err
		}
	}
	return s.leave(f, m, "it took writes beside the primary and was ended", report)
}

// lookForOther refuses to let the recorded primary take writes if another member does,
// knows a later epoch, or has followed a primary beyond the position at, if at is set.
func (s starter) lookForOther(ctx context.Context, f facts, m appliance.Member, at string) error {
	for _, l := range s.looks(ctx, f, func(name string) bool { return name != m.Name }) {
		server := l.Server.Value()
		ahead := at != "" && (server.Timeline > f.cluster.Timeline || postgres.LSNAfter(server.LSN, at) || postgres.LSNAfter(server.ReceiveLSN, at))
		if writes(l) || l.Epoch.Value() > f.cluster.Epoch || l.Member.Return == "" && ahead {
			return foreignPrimary(f.cluster, l.Member.Name)
		}
	}
	return nil
}

// foreignPrimary is the conflict of a member that the record doesn't call primary.
func foreignPrimary(c appliance.Cluster, member string) error {
	return appliance.NewProblem(appliance.ErrConflict, "the record calls %s the primary of cluster %q, but %s takes writes or has followed another", c.Primary, c.Name, member).
		WithHint("pgapp adopt --cluster %s takes over what really runs; nothing was changed", c.Name)
}

// looks looks at the members that want selects.
func (s starter) looks(ctx context.Context, f facts, want func(name string) bool) []observe.Look {
	all := observe.Subjects(f.cluster, s.work.provider, f.secrets)
	return s.work.cfg.Observer.Known(ctx, slices.DeleteFunc(all, func(o observe.Subject) bool { return !want(o.Member.Name) }))
}

// writes tells whether the look found a server that takes writes.
func writes(l observe.Look) bool { return l.Server.Known() && !l.Server.Value().InRecovery }

// wake has the running standbys connect to the primary at once, instead of after a
// pause between two attempts. A standby that can't be woken connects later.
func (w world) wake(ctx context.Context, c appliance.Cluster) {
	ctx, cancel := context.WithTimeout(ctx, wakeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range c.Standbys() {
		if m.Return == "" {
			wg.Go(func() { _ = postgres.Wake(ctx, w.provider.Machine(c, m)) })
		}
	}
	wg.Wait()
}

// unmarked returns those of the members that are standbys and don't have to be brought
// back first.
func (w world) unmarked(ctx context.Context, names []string) ([]string, error) {
	f, err := w.facts(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if m, ok := f.cluster.Member(n); !ok || m.Return == "" && n != f.cluster.Primary {
			out = append(out, n)
		}
	}
	return out, nil
}
