package control

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

// Clusters observes every cluster.
func (c *Controller) Clusters(ctx context.Context) ([]appliance.ClusterStatus, error) {
	records, err := c.cfg.Store.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]appliance.ClusterStatus, len(records))
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	for i, r := range records {
		wg.Go(func() { out[i], errs[i] = c.status(ctx, r) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Status observes one cluster.
func (c *Controller) Status(ctx context.Context, cluster string) (appliance.ClusterStatus, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return appliance.ClusterStatus{}, clusterNotFound(err, cluster)
	}
	return c.status(ctx, r)
}

func clusterNotFound(err error, cluster string) error {
	if !appliance.IsProblem(err, appliance.ErrNotFound) {
		return err
	}
	return appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", cluster).
		WithHint("pgapp up --cluster %s creates it; pgapp ps --all shows those that are there", cluster)
}

func (c *Controller) status(ctx context.Context, r appliance.Cluster) (appliance.ClusterStatus, error) {
	secrets, err := c.cfg.Store.Secrets(ctx, r.Name)
	if err != nil {
		return appliance.ClusterStatus{}, err
	}
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return appliance.ClusterStatus{}, err
	}
	spec := r.Spec
	s := appliance.ClusterStatus{
		Name: r.Name, Provider: r.Spec.Provider, Phase: r.Phase, Database: r.Spec.Database, Primary: r.Primary,
		Timeline: r.Timeline, SystemIdentifier: r.SystemIdentifier, UUID: r.UUID, Spec: &spec, Revision: r.Revision,
		Members: make([]appliance.MemberStatus, len(r.Members)), Durability: cmp.Or(r.Spec.Durability, appliance.DurabilityAsync),
	}
	if r.Spec.Quorum() || !r.Promise.None() {
		s.Promise = &r.Promise
	}
	c.cfg.addEndpoints(ctx, &s, r)
	running, err := c.cfg.Store.Running(ctx, r.Name)
	if err == nil {
		s.Operation = running.ID
		if running, err = c.cfg.Runner.Operation(ctx, running.ID); err != nil {
			return s, err
		}
	} else if !appliance.IsProblem(err, appliance.ErrNotFound) {
		return s, err
	}
	if s.Operation == "" && unfinished(r) != nil { // its operation may have ended meanwhile
		if r, err = c.cfg.Store.Cluster(ctx, r.Name); err != nil {
			return s, clusterNotFound(err, s.Name)
		}
		s.Primary, s.Timeline = r.Primary, r.Timeline
	}
	addChange(&s, r, running)
	if err := c.cfg.addAutomation(ctx, &s, r); err != nil {
		return s, err
	}
	looks := c.cfg.Observer.Members(ctx, observe.Subjects(r, provider, secrets))
	primary := looks[primaryIndex(r)]
	for i, m := range r.Members {
		s.Members[i] = memberStatus(r, m, looks[i], primary.Walsenders, running)
		tellAhead(&s.Members[i], looks[i], primary)
		tellTablespaces(&s.Members[i], primary.Tablespaces.Value())
		tellMarked(&s.Members[i], r, running)
	}
	if tl := primary.Server.Value().Timeline; tl != 0 {
		s.Timeline = tl
	}
	s.Phase = observedPhase(r, s.Members, s.Operation != "")
	return s, nil
}

func primaryIndex(r appliance.Cluster) int {
	for i, m := range r.Members {
		if m.Name == r.Primary {
			return i
		}
	}
	return 0
}

func memberStatus(r appliance.Cluster, m appliance.Member, l observe.Look, walsenders observe.Fact[[]appliance.ReplicationRow], running appliance.Operation) appliance.MemberStatus {
	seen, power, silence := l.Server.Value(), l.Power.Value(), l.Server.Why()
	s := appliance.MemberStatus{
		Name: m.Name, Role: r.RoleOf(m.Name), Placement: m.Placement, Host: m.Host, Port: m.Port,
		Timeline: seen.Timeline, LSN: seen.LSN,
	}
	if s.Role == appliance.RoleStandby {
		s.Slot = m.Slot
	}
	switch {
	case cloning(running, m.Name):
		s.State = appliance.StateCloning
	case power.State == appliance.PowerOff:
		s.State, s.Detail = appliance.StateStopped, power.Reason
	case power.State == appliance.PowerPaused:
		s.State, s.Detail = appliance.StatePaused, power.Reason
	case silence != nil && power.State == appliance.PowerBooting:
		s.State, s.Detail = appliance.StateBooting, power.Reason
	case silence != nil && l.Process.Known() && !l.Process.Value():
		s.State, s.Detail = appliance.StateStopped, missingDetail(m, l.Missing.Value())
	case silence != nil:
		s.State, s.Detail = appliance.StateUnreachable, silence.Error()
	case s.Role == appliance.RolePrimary && seen.InRecovery:
		s.State, s.Detail = appliance.StateFailed, "the record calls it primary, but it is in recovery"
	case s.Role == appliance.RolePrimary:
		s.State = appliance.StateRunning
	case !seen.InRecovery && promoting(r, running, m.Name):
		s.State, s.Detail = appliance.StateRunning, "being promoted"
	case !seen.InRecovery:
		s.State, s.Detail = appliance.StateFailed, "the record calls it standby, but it accepts writes"
	default:
		standbyState(&s, seen, walsenders)
		if _, value, ok := postgres.ApplyDelay(r.Spec.Parameters); ok && s.State == appliance.StateFailed {
			s.Detail += "; its replay is delayed by " + value + ", and after a start it replays what it has before it streams"
		}
	}
	return s
}

// standbyState fills in what the primary says of a standby that answers.
func standbyState(s *appliance.MemberStatus, seen postgres.Observation, walsenders observe.Fact[[]appliance.ReplicationRow]) {
	if !walsenders.Known() {
		s.State, s.Detail, s.ReplayLSN = appliance.StateCatchup, "the primary does not answer", seen.LSN
		return
	}
	// A standby that has connected again may have two rows; the last is the newer.
	var row *appliance.ReplicationRow
	for i, w := range walsenders.Value() {
		if w.ApplicationName == s.Name {
			row = &walsenders.Value()[i]
		}
	}
	switch {
	case row == nil:
		s.State, s.Detail, s.ReplayLSN = appliance.StateFailed, "it does not stream: the primary has no connection from it", seen.LSN
		return
	case row.State == "streaming":
		s.State = appliance.StateStreaming
	default:
		s.State, s.Detail = appliance.StateCatchup, "walsender state "+row.State
	}
	s.SyncState, s.SentLSN, s.ReplayLSN = row.SyncState, row.SentLSN, row.ReplayLSN
	s.ReplayLagBytes, s.ReplayLagSeconds = &row.ReplayLagBytes, &row.ReplayLagSecs
}

func cloning(o appliance.Operation, member string) bool {
	for _, s := range o.Steps {
		if s.Kind == appliance.StepClone && s.Member == member && s.State == appliance.StepRunning {
			return true
		}
	}
	return false
}

// observedPhase returns the stored phase, but degraded for a ready cluster with a
// member that doesn't run or stream, whose members are being stopped, or whose quorum
// could be of more members than is promised.
func observedPhase(r appliance.Cluster, members []appliance.MemberStatus, busy bool) appliance.Phase {
	if r.Phase != appliance.PhaseReady {
		return r.Phase
	}
	if busy && r.WantStopped {
		return appliance.PhaseDegraded
	}
	for _, m := range members {
		if m.State != appliance.StateRunning && m.State != appliance.StateStreaming {
			return appliance.PhaseDegraded
		}
	}
	if r.Spec.Quorum() && promisesLess(r.Promise, members) {
		return appliance.PhaseDegraded
	}
	return appliance.PhaseReady
}

// promisesLess tells whether a standby streams that the promise leaves out.
func promisesLess(p appliance.Promise, members []appliance.MemberStatus) bool {
	return slices.ContainsFunc(members, func(m appliance.MemberStatus) bool {
		return m.Role == appliance.RoleStandby && m.State == appliance.StateStreaming && !p.Has(m.Name)
	})
}

// Verify proves what the cluster claims. It changes nothing but the marker
// row of schema pgapp.
func (c *Controller) Verify(ctx context.Context, cluster string) (appliance.VerifyReport, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return appliance.VerifyReport{}, clusterNotFound(err, cluster)
	}
	secrets, err := c.cfg.Store.Secrets(ctx, cluster)
	if err != nil {
		return appliance.VerifyReport{}, err
	}
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return appliance.VerifyReport{}, err
	}
	report := c.cfg.Observer.Verify(ctx, r, provider, secrets)
	checks, proven := c.cfg.Observer.VerifyEndpoints(ctx, r, provider, secrets)
	if o, err := c.observeOnly(ctx); err == nil && slices.Contains(o.Clusters, cluster) {
		excuse(checks)
	}
	report.Checks = append(report.Checks, checks...)
	report.OK = report.OK && proven && !slices.ContainsFunc(checks, func(c appliance.Check) bool { return !c.OK })
	return report, nil
}
