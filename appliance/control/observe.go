package control

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
)

// observeTimeout bounds one look at one member, so that a hung member doesn't
// hide the others.
const observeTimeout = 2 * time.Second

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
		return appliance.ClusterStatus{}, notFound(err, cluster)
	}
	return c.status(ctx, r)
}

func notFound(err error, cluster string) error {
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
		Members: make([]appliance.MemberStatus, len(r.Members)),
	}
	running, err := c.cfg.Store.Running(ctx, r.Name)
	if err == nil {
		s.Operation = running.ID
		if running, err = c.cfg.Runner.Operation(ctx, running.ID); err != nil {
			return s, err
		}
	} else if !appliance.IsProblem(err, appliance.ErrNotFound) {
		return s, err
	}
	looks := make([]look, len(r.Members))
	var wg sync.WaitGroup
	for i, m := range r.Members {
		wg.Go(func() {
			looks[i] = c.observe(ctx, r, m, provider.Machine(r, m), secrets.Get(appliance.SecretControl))
		})
	}
	wg.Wait()
	if p := primaryIndex(r); anyAhead(looks, p) {
		// The standby may just have been asked later: what the primary has now decides.
		m := r.Members[p]
		looks[p] = c.observe(ctx, r, m, provider.Machine(r, m), secrets.Get(appliance.SecretControl))
	}
	var rows map[string]appliance.ReplicationRow
	for _, l := range looks {
		if l.rows != nil {
			rows = l.rows
		}
	}
	for i, m := range r.Members {
		s.Members[i] = memberStatus(r, m, looks[i], rows, running)
		tellAhead(&s.Members[i], looks[i], looks[primaryIndex(r)])
		tellTablespaces(&s.Members[i], looks[primaryIndex(r)].tablespaces)
	}
	if tl := looks[primaryIndex(r)].seen.Timeline; tl != 0 {
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

// look is what one look at a member brought.
type look struct {
	err     error // why there is no session
	running bool  // a server process exists
	power   appliance.Power
	seen    postgres.Observation
	rows    map[string]appliance.ReplicationRow // of a primary
	// tablespaces are a primary's where its standbys would share them.
	tablespaces []string
	// missing are the tablespaces that an ended standby had no directory for.
	missing []string
}

func (c *Controller) observe(ctx context.Context, r appliance.Cluster, m appliance.Member, mc appliance.Machine, password appliance.Secret) look {
	l := look{power: power(ctx, mc)}
	if l.power.State == appliance.PowerOff || l.power.State == appliance.PowerPaused {
		return l
	}
	dial := func(ctx context.Context) (*postgres.Control, error) {
		return postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, password)
	}
	asking, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	l.err = c.cfg.Sessions.UseNew(asking, postgres.SessionKey(r, m.Name), dial, func(s *postgres.Control) (err error) {
		if l.seen, err = s.Observe(ctx); err != nil || m.Name != r.Primary {
			return err
		}
		rows, err := s.Replication(ctx)
		l.rows = map[string]appliance.ReplicationRow{}
		for _, row := range rows {
			l.rows[row.ApplicationName] = row
		}
		if err == nil && r.Spec.Provider == appliance.ProviderLocal && len(r.Members) > 1 {
			l.tablespaces, err = s.Tablespaces(ctx)
		}
		return err
	})
	if l.err == nil {
		l.running = true
		return l
	}
	l.rows = nil
	if l.power.State == appliance.PowerBooting {
		return l
	}
	// A time of its own: the other one is over where nobody answered.
	asking, cancel = context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	running, err := mc.ServerRunning(asking)
	l.running = running || err != nil
	if !l.running && m.Name != r.Primary {
		l.missing = missingTablespaces(asking, m, mc)
	}
	return l
}

// power asks the machine's host first, which answers at once, whereas a machine
// that is off or paused doesn't. It is empty where the host can't tell.
func power(ctx context.Context, mc appliance.Machine) appliance.Power {
	powered, ok := mc.(appliance.Powered)
	if !ok {
		return appliance.Power{}
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	p, err := powered.Power(ctx)
	if err != nil {
		return appliance.Power{} // the look at the member says what it finds
	}
	return p
}

func memberStatus(r appliance.Cluster, m appliance.Member, l look, rows map[string]appliance.ReplicationRow, running appliance.Operation) appliance.MemberStatus {
	s := appliance.MemberStatus{
		Name: m.Name, Role: r.RoleOf(m.Name), Placement: m.Placement, Host: m.Host, Port: m.Port,
		Timeline: l.seen.Timeline, LSN: l.seen.LSN,
	}
	if s.Role == appliance.RoleStandby {
		s.Slot = m.Slot
	}
	switch {
	case cloning(running, m.Name):
		s.State = appliance.StateCloning
	case l.power.State == appliance.PowerOff:
		s.State, s.Detail = appliance.StateStopped, l.power.Reason
	case l.power.State == appliance.PowerPaused:
		s.State, s.Detail = appliance.StatePaused, l.power.Reason
	case l.err != nil && l.power.State == appliance.PowerBooting:
		s.State, s.Detail = appliance.StateBooting, l.power.Reason
	case l.err != nil && !l.running:
		s.State, s.Detail = appliance.StateStopped, missingDetail(m, l.missing)
	case l.err != nil:
		s.State, s.Detail = appliance.StateUnreachable, l.err.Error()
	case s.Role == appliance.RolePrimary && l.seen.InRecovery:
		s.State, s.Detail = appliance.StateFailed, "the record calls it primary, but it is in recovery"
	case s.Role == appliance.RolePrimary:
		s.State = appliance.StateRunning
	case !l.seen.InRecovery:
		s.State, s.Detail = appliance.StateFailed, "the record calls it standby, but it accepts writes"
	default:
		standbyState(&s, m, l, rows)
		if _, value, ok := postgres.ApplyDelay(r.Spec.Parameters); ok && s.State == appliance.StateFailed {
			s.Detail += "; its replay is delayed by " + value + ", and after a start it replays what it has before it streams"
		}
	}
	return s
}

// standbyState fills what the primary says of a living standby.
func standbyState(s *appliance.MemberStatus, m appliance.Member, l look, rows map[string]appliance.ReplicationRow) {
	row, ok := rows[m.Name]
	switch {
	case rows == nil:
		s.State, s.Detail, s.ReplayLSN = appliance.StateCatchup, "the primary does not answer", l.seen.LSN
		return
	case !ok:
		s.State, s.Detail, s.ReplayLSN = appliance.StateFailed, "it does not stream: the primary has no connection from it", l.seen.LSN
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
		if s.ID == "clone/"+member && s.State == appliance.StepRunning {
			return true
		}
	}
	return false
}

// observedPhase is the stored one, except that a ready cluster is degraded
// where a member that shall run does not do its part, or while all are stopped.
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
	return appliance.PhaseReady
}

// Verify proves what the cluster claims. It changes nothing but the marker
// row of schema pgapp.
func (c *Controller) Verify(ctx context.Context, cluster string) (appliance.VerifyReport, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return appliance.VerifyReport{}, notFound(err, cluster)
	}
	secrets, err := c.cfg.Store.Secrets(ctx, cluster)
	if err != nil {
		return appliance.VerifyReport{}, err
	}
	return postgres.Verify(ctx, plan.VerifyInput(r, secrets)), nil
}
