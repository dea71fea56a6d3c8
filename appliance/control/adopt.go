package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// Adopt looks at what really runs of the cluster and makes the record say so:
// the one writable member, of a timeline that descends from the recorded one,
// is its primary from then on, and the epoch grows. Nothing is started,
// stopped or reconfigured. Whatever is ambiguous is a problem conflict that
// lists what was found. A repeat is safe.
func (c *Controller) Adopt(ctx context.Context, cluster string) (appliance.Adoption, error) {
	r, from, err := c.adoptable(ctx, cluster)
	if err != nil {
		return appliance.Adoption{}, err
	}
	o, err := c.observeOnly(ctx)
	if err != nil {
		return appliance.Adoption{}, err
	}
	seen, err := c.scan(ctx, r)
	if err != nil {
		return appliance.Adoption{}, err
	}
	v, err := judge(r, seen)
	if err != nil {
		return appliance.Adoption{}, err
	}
	if v.primary == r.Primary && !slices.Contains(o.Clusters, cluster) {
		return appliance.Adoption{
			Cluster: r.Name, Primary: r.Primary, Was: r.Primary, Epoch: r.Epoch, Timeline: r.Timeline,
			Notes: append(v.notes, "the record is right: nothing was changed"),
		}, nil
	}
	leave, err := c.admission.enter(ctx, cluster)
	if err != nil {
		return appliance.Adoption{}, err
	}
	defer leave()
	switch _, now, err := c.adoptable(ctx, cluster); {
	case err != nil:
		return appliance.Adoption{}, err
	case now != from:
		return appliance.Adoption{}, appliance.NewProblem(appliance.ErrConflict, "cluster %q was changed while its members were looked at", cluster).
			WithHint("run pgapp adopt --cluster %s again; nothing was changed", cluster)
	}
	return c.recordPrimary(ctx, r, v)
}

// adoptable returns the record of a cluster on which no operation runs, and
// what identifies its state.
func (c *Controller) adoptable(ctx context.Context, cluster string) (appliance.Cluster, basis, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return r, basis{}, notFound(err, cluster)
	}
	running, err := c.running(ctx, cluster)
	if err == nil && running != nil {
		err = busy(*running)
	}
	return r, basis{revision: r.Revision}, err
}

func (c *Controller) recordPrimary(ctx context.Context, r appliance.Cluster, v verdict) (appliance.Adoption, error) {
	was := r.Primary
	r, err := c.cfg.Store.UpdateCluster(ctx, r.Name, func(r *appliance.Cluster) error {
		r.Primary = v.primary
		r.Epoch++
		r.Timeline = max(r.Timeline, v.timeline)
		for i := range r.Members {
			if v.running[r.Members[i].Name] {
				r.Members[i].WantStopped, r.WantStopped = false, false
			}
		}
		if v.running[v.primary] && r.Initialised && r.Phase != appliance.PhaseRemoving {
			r.Phase = appliance.PhaseReady
		}
		return nil
	})
	if err != nil {
		return appliance.Adoption{}, err
	}
	c.cfg.Log.Info("cluster adopted", "cluster", r.Name, "primary", r.Primary, "was", was, "epoch", r.Epoch, "timeline", r.Timeline)
	return appliance.Adoption{
		Cluster: r.Name, Primary: r.Primary, Was: was, Epoch: r.Epoch, Timeline: r.Timeline, Notes: v.notes,
	}, c.adopted(ctx, r.Name)
}

// sighting is what was found of one member.
type sighting struct {
	member appliance.Member
	// answers: a server answers at the member's address, and says that it is
	// what seen holds; silence is why not.
	answers bool
	seen    postgres.Observation
	silence error
	// process: the machine knows a server of this member.
	process bool
	dir     postgres.DataDir
	// lost says why the machine could not be looked at.
	lost error
	// ancestors are the timelines that the member's own descends from.
	ancestors []uint32
}

// timeline is the highest that is known of the member.
func (s sighting) timeline() uint32 { return max(s.seen.Timeline, s.dir.Timeline) }

// writable: the server takes writes, or would if it were started.
func (s sighting) writable() bool {
	if s.answers {
		return !s.seen.InRecovery
	}
	return s.dir.Initialised && !s.dir.InRecovery
}

func (c *Controller) scan(ctx context.Context, r appliance.Cluster) ([]sighting, error) {
	secrets, err := c.cfg.Store.Secrets(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return nil, err
	}
	out := make([]sighting, len(r.Members))
	var wg sync.WaitGroup
	for i, m := range r.Members {
		wg.Go(func() { out[i] = sight(ctx, m, provider.Machine(r, m), secrets.Get(appliance.SecretControl)) })
	}
	wg.Wait()
	return out, ctx.Err()
}

// ask observes the member in a session of its own: what a kept one says may be
// of a server that has been replaced.
func ask(ctx context.Context, m appliance.Member, password appliance.Secret) (postgres.Observation, error) {
	c, err := postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, password)
	if err != nil {
		return postgres.Observation{}, err
	}
	defer func() { _ = c.Close(ctx) }()
	return c.Observe(ctx)
}

func sight(ctx context.Context, m appliance.Member, mc appliance.Machine, password appliance.Secret) sighting {
	s := sighting{member: m}
	asked, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	s.seen, s.silence = ask(asked, m, password)
	s.answers = s.silence == nil
	var err error
	if s.process, err = mc.ServerRunning(ctx); err != nil {
		s.lost = err
		return s
	}
	if s.dir, s.lost = postgres.InspectDataDir(ctx, mc); s.lost != nil || !s.dir.Initialised || s.timeline() <= 1 {
		return s
	}
	history := filepath.Join(mc.Layout().DataDir, "pg_wal", fmt.Sprintf("%08X.history", s.timeline()))
	text, err := mc.ReadFile(ctx, history)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.lost = err
		return s
	}
	s.ancestors = parseHistory(string(text))
	return s
}

// parseHistory reads the timelines of a history file (documentation 25.3.6):
// lines of a number, a position and a reason.
func parseHistory(text string) []uint32 {
	var out []uint32
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(f[0], 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

// verdict is what unambiguously is.
type verdict struct {
	primary  string
	timeline uint32
	running  map[string]bool
	notes    []string
}

// judge finds the primary in what was seen, or says what stands against it.
func judge(r appliance.Cluster, all []sighting) (verdict, error) {
	var against []string
	for _, s := range all {
		if why := strange(r, s); why != "" {
			against = append(against, s.member.Name+" "+why)
		}
	}
	if len(against) > 0 {
		return verdict{}, ambiguous(r, all, against...)
	}
	v := verdict{primary: r.Primary, timeline: r.Timeline, running: map[string]bool{}}
	for _, s := range all {
		v.running[s.member.Name] = s.answers
		if note := differs(r, s); note != "" {
			v.notes = append(v.notes, s.member.Name+" "+note)
		}
	}
	best, err := choose(r, all)
	if err != nil || best == nil {
		v.notes = append(v.notes, "nothing is left of the cluster in this home: pgapp down --volumes removes its record")
		return v, err
	}
	v.primary, v.timeline = best.member.Name, best.timeline()
	return v, nil
}

// choose returns the one member that is primary, nil where there is none of
// the members any more.
func choose(r appliance.Cluster, all []sighting) (*sighting, error) {
	var best *sighting
	var live, highest, there int
	for i, s := range all {
		if s.answers || s.dir.Exists {
			there++
		}
		if !s.writable() {
			continue
		}
		if s.answers {
			live++
		}
		switch {
		case best == nil || s.timeline() > best.timeline():
			best, highest = &all[i], 1
		case s.timeline() == best.timeline():
			highest++
		}
	}
	switch {
	case there == 0:
		return nil, nil
	case best == nil:
		return nil, ambiguous(r, all, "no member is a primary")
	case live > 1:
		return nil, ambiguous(r, all, "more than one member accepts writes: stop all but one by hand")
	case highest > 1:
		return nil, ambiguous(r, all, fmt.Sprintf("more than one member would accept writes on timeline %d", best.timeline()))
	case live == 1 && !best.answers:
		return nil, ambiguous(r, all, fmt.Sprintf("%s is stopped, but has a newer timeline than the member that accepts writes", best.member.Name))
	}
	for _, s := range all {
		if s.timeline() > best.timeline() {
			return nil, ambiguous(r, all, fmt.Sprintf("%s follows timeline %d, of which no primary is known", s.member.Name, s.timeline()))
		}
	}
	return best, descends(r, all, best)
}

// descends wants the primary's timeline to come from the recorded one.
func descends(r appliance.Cluster, all []sighting, best *sighting) error {
	t := best.timeline()
	switch {
	case r.Timeline == 0, t == r.Timeline && best.member.Name == r.Primary, slices.Contains(best.ancestors, r.Timeline):
		return nil
	}
	return ambiguous(r, all, fmt.Sprintf("%s is on timeline %d, which does not descend from the recorded timeline %d of %s",
		best.member.Name, t, r.Timeline, r.Primary))
}

// strange says why a member can't be judged, or "".
func strange(r appliance.Cluster, s sighting) string {
	id := s.seen.SystemIdentifier
	if id == "" {
		id = s.dir.SystemIdentifier
	}
	switch {
	case s.lost != nil:
		return "can't be looked at: " + s.lost.Error()
	case s.dir.Foreign:
		return "has a data directory that is none of PostgreSQL 17"
	case s.answers && s.seen.ClusterName != "" && s.seen.ClusterName != r.Name+"/"+s.member.Name:
		return fmt.Sprintf("has another server at its address: %s", s.seen.ClusterName)
	case id != "" && r.SystemIdentifier != "" && id != r.SystemIdentifier:
		return fmt.Sprintf("has system identifier %s, the record says %s", id, r.SystemIdentifier)
	case s.answers && !s.process:
		return "answers at its address, but its server and data are not in this home"
	case s.process && !s.answers:
		return fmt.Sprintf("runs, but does not say what it is: %v", s.silence)
	}
	return ""
}

// differs says what of a member isn't as recorded, or "".
func differs(r appliance.Cluster, s sighting) string {
	switch {
	case !s.dir.Exists && !s.answers:
		return "has no data directory"
	case s.member.Name == r.Primary && !s.writable():
		return fmt.Sprintf("was recorded as primary and is a standby on timeline %d", s.timeline())
	case s.member.Name == r.Primary && !s.answers:
		return "was recorded as primary and does not run"
	case s.member.Name != r.Primary && s.writable():
		return fmt.Sprintf("was recorded as standby and is a primary on timeline %d", s.timeline())
	case !s.answers:
		return "does not run"
	}
	return ""
}

// ambiguous is the problem that leaves the decision to a person.
func ambiguous(r appliance.Cluster, all []sighting, against ...string) error {
	lines := slices.Clone(against)
	for _, s := range all {
		role := "standby"
		if s.writable() {
			role = "writable"
		}
		state := "stopped"
		if s.answers || s.process {
			state = "running"
		}
		if !s.dir.Exists && !s.answers {
			role, state = "nothing", "no data directory"
		}
		lines = append(lines, fmt.Sprintf("%s (recorded %s): %s, %s, timeline %d, %s:%d",
			s.member.Name, r.RoleOf(s.member.Name), role, state, s.timeline(), s.member.Host, s.member.Port))
	}
	return appliance.NewProblem(appliance.ErrConflict, "what runs of cluster %q is ambiguous: %s", r.Name, against[0]).
		WithHint("make it unambiguous by hand, then run pgapp adopt --cluster %s again; nothing was changed", r.Name).
		WithDetail(strings.Join(lines, "\n"))
}
