package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// drillCommands prove on a cluster what it promises.
type drillCommands struct{ *app }

// drillFlags are the flags of drill.
type drillFlags struct {
	fault, through, yes string
	rounds, writers     int
	seed                uint64
	limit, pause        time.Duration
}

func (a drillCommands) drillCommand() *cobra.Command {
	f := &drillFlags{}
	cmd := &cobra.Command{
		Use: "drill", Short: "Strike the cluster under writers, and prove that nothing is lost",
		Long: drillLong,
		Example: `  pgapp drill --rounds 3
  pgapp drill --fault kill --rounds 10 -o json
  pgapp drill --through endpoint
  pgapp drill --fault power-off --yes-this-cluster main`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.drill(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.fault, "fault", string(drill.FaultRandom), strings.Join(faultNames(), ", "))
	fl.IntVar(&f.rounds, "rounds", 5, "number of rounds")
	fl.Uint64Var(&f.seed, "seed", 1, "what the faults of random are chosen by: the same seed gives the same faults")
	fl.IntVar(&f.writers, "writers", 4, "number of writers")
	fl.DurationVar(&f.pause, "pause", 0, "a writer's pause between two rows; without one writers fill the machine (default none, with virtual machines 20ms)")
	fl.DurationVar(&f.limit, "limit", 0, "how long a round may take to be healed (default 2m, with virtual machines 10m)")
	fl.StringVar(&f.through, "through", drill.ThroughMembers, "endpoint or members: what the writers write through")
	fl.StringVar(&f.yes, "yes-this-cluster", "", "the cluster's name, where its database is not only Pagila")
	return cmd
}

const drillLong = `Strike the cluster with faults while writers write, and prove that it heals by itself
and that no acknowledged commit is lost.

The faults are real: processes are killed and machines turned off. Sessions of
other clients end with them, as they would in the fault that is played. The
writers' rows are in a database of their own, pgapp_drill, which is removed in the
end. A round ends when all members serve and stream again, without a person; then
every member has to have every row that was acknowledged.

  kill         the primary's first process is killed
  kill-member  all of the primary's processes are killed at once
  freeze       the primary's processes, or its virtual machine, are frozen
  halt         the primary's first process is stopped; its sessions go on
  cut          the primary is cut from everybody by nft, until pgapp has ended it;
               local members only, and as root
  power-off    the primary's virtual machine is turned off
  switchover   the primary is moved by command
  daemon       pgapp's daemon is killed, and started again as any command does
  endpoint     the process behind the endpoints is killed, and pgapp starts it again
  random       one of these, or two of them, also of standbys, by --seed; endpoint
               is among them with --through endpoint only

With --through members, the default, writers try the members' addresses until one
takes their rows. With --through endpoint they know the address for writes only, and
each reads its own rows at the address for reads: reads that are older than what the
writer was told are counted, and break no promise, since standbys replay later. A
round then also waits until the endpoints lead to the primary and to standbys.

The exit code is 3 where a commit was lost, two members took writes at once, or a
member did not come back; the drill then stops, and leaves the cluster as it is.

A cluster whose database is not only pgapp's Pagila is struck with
--yes-this-cluster NAME only. One that is paused, not whole, or not kept by pgapp
itself (--automatic off) is refused. The failovers that the drill makes pgapp do
don't count towards the three in an hour.

Ctrl-C ends the drill, waits until the cluster is whole, and removes the database.
What a killed drill leaves the next one removes.`

// faultNames are the faults' for the help.
func faultNames() []string {
	var out []string
	for _, f := range drill.Faults() {
		out = append(out, string(f))
	}
	return out
}

const (
	// healLocal and healMachines bound the healing of a round.
	healLocal, healMachines = 2 * time.Minute, 10 * time.Minute
	// machinePause is a writer's pause between two rows: emulated machines can't keep up
	// with a writer without pauses.
	machinePause = 20 * time.Millisecond
)

func (a drillCommands) drill(ctx context.Context, f *drillFlags) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, a.cluster)
	if err != nil {
		return err
	}
	machines := slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool { return m.Placement == appliance.PlacementVM })
	if err := errors.Join(f.check(machines), a.allowed(s, f.yes), f.reachable(s)); err != nil {
		return err
	}
	conn, err := c.Connection(ctx, a.cluster, "any", true)
	if err != nil {
		return err
	}
	d := drill.Drill{
		Config: drill.Config{
			Members: conn.Hosts, Database: appliance.DrillDatabase, User: conn.User, Password: appliance.NewSecret(conn.Password), Writers: f.writers,
		},
		Hands: drillHands{a, c}, Fault: drill.Fault(f.fault), Machines: machines, Rounds: f.rounds, Seed: f.seed, Limit: f.limit, Seen: a.roundNote,
	}
	if f.through == drill.ThroughEndpoint {
		d.Through = &drill.Through{Endpoints: s.Endpoints.Endpoints, Host: s.Endpoints.Host, Wait: s.Spec.RouteWait()}
	}
	if d.Pause = f.pause; machines && f.pause == 0 {
		d.Pause = machinePause
	}
	if d.Limit == 0 && machines {
		d.Limit = healMachines
	} else if d.Limit == 0 {
		d.Limit = healLocal
	}
	if err := a.cuts(ctx, &d); err != nil {
		return err
	}
	if s.Durability == appliance.DurabilityAsync && s.Provider != appliance.ProviderLocal {
		a.note("durability is async: commits that no standby has received may be lost")
	}
	return a.play(ctx, c, d)
}

// cuts finds out whether the drill can cut links.
func (a drillCommands) cuts(ctx context.Context, d *drill.Drill) error {
	if d.Machines || d.Fault != drill.FaultCut && d.Fault != drill.FaultRandom {
		return nil
	}
	err := drill.CanCut(ctx)
	switch {
	case err != nil && d.Fault == drill.FaultCut:
		return appliance.NewProblem(appliance.ErrHostUnable, "no drill: %w", err).
			WithHint("run it as root where nft is installed, or choose --fault freeze")
	case err != nil:
		d.Uncut = true
		a.note("no link is cut, the member is frozen instead: %s", err)
	}
	return nil
}

// check checks the flags.
func (f *drillFlags) check(machines bool) error {
	switch {
	case !slices.Contains(faultNames(), f.fault):
		return oneOf("fault", f.fault, faultNames()...)
	case f.through != drill.ThroughEndpoint && f.through != drill.ThroughMembers:
		return oneOf("through", f.through, drill.ThroughEndpoint, drill.ThroughMembers)
	case f.fault == string(drill.FaultCut) && machines:
		return appliance.NewProblem(appliance.ErrUsage, "--fault cut is for clusters of local members").
			WithHint("--fault freeze stops a virtual machine, which is then as silent")
	case f.fault == string(drill.FaultPowerOff) && !machines:
		return appliance.NewProblem(appliance.ErrUsage, "--fault %s is for clusters with virtual machines", f.fault).
			WithHint("--fault kill-member kills all of a local member's processes")
	case f.rounds < 1 || f.writers < 1 || f.limit < 0 || f.pause < 0:
		return appliance.NewProblem(appliance.ErrUsage, "--rounds and --writers have to be at least 1, and --limit and --pause no negative time")
	}
	return nil
}

// allowed refuses a cluster that must not be struck.
func (a drillCommands) allowed(s appliance.ClusterStatus, yes string) error {
	refuse := func(format string, args ...any) *appliance.Problem {
		return appliance.NewProblem(appliance.ErrConflict, "no drill: "+format, args...)
	}
	if yes != "" && yes != s.Name {
		return appliance.NewProblem(appliance.ErrUsage, "--yes-this-cluster says %q, and the cluster is %q", yes, s.Name)
	}
	switch {
	case s.Spec == nil || len(s.Members) < 2:
		return refuse("cluster %q has no standby that could take over", s.Name).WithHint("pgapp scale 2 adds some")
	case s.Database == appliance.DrillDatabase:
		return refuse("the cluster's own database has the name %s", s.Database)
	case yes == "" && (s.Spec.Dataset != appliance.DatasetPagila || len(s.Spec.SQL) > 0):
		return refuse("pgapp did not make what is in database %q", s.Database).
			WithHint("the drill kills servers in use: --yes-this-cluster %s says that this is meant", s.Name)
	case s.Automatic != appliance.AutomaticOn:
		return refuse("pgapp does nothing by itself for cluster %q: automatic is %s", s.Name, automaticText(s.Automatic, s.Pause))
	}
	if found := drill.Whole(s); len(found) > 0 {
		return refuse("the cluster is not whole: %s", found[0]).WithHint("pgapp ps shows the members")
	}
	return nil
}

// reachable refuses a drill through endpoints, or of them, where the cluster has none.
func (f *drillFlags) reachable(s appliance.ClusterStatus) error {
	needed := f.through == drill.ThroughEndpoint || f.fault == string(drill.FaultEndpoint)
	if !needed || s.Endpoints != nil && s.Spec != nil && s.Spec.HasEndpoints() {
		return nil
	}
	return appliance.NewProblem(appliance.ErrConflict, "no drill: cluster %q has no endpoints", s.Name).
		WithHint("pgapp up --endpoint on gives it some; --through members with another fault needs none")
}

// leaveLimit bounds the removal of what a drill has made, which waits for the cluster.
const leaveLimit = 2 * time.Minute

// play makes the database, plays the rounds and removes the database.
func (a drillCommands) play(ctx context.Context, c *api.Client, d drill.Drill) (err error) {
	base := drillBase{a}
	if err := base.create(ctx); err != nil {
		return err
	}
	var r drill.Report
	r, err = d.Run(ctx)
	r.Cluster = a.cluster
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	if left := base.leave(leave, c, r.OK); left != nil {
		a.note("database %s is left, and the next drill removes it: %s", appliance.DrillDatabase, left)
	}
	if err != nil && len(r.Rounds) == 0 {
		return err
	}
	if !r.OK {
		a.exit = appliance.ExitDegraded
	}
	return errors.Join(a.print(r, func() error { return a.drillTables(r) }), err)
}

// roundNote says what came of a round.
func (a drillCommands) roundNote(r drill.Round) {
	outcome := fmt.Sprintf("%d commits acknowledged, %d unknown, none lost", r.Acknowledged, r.Unknown)
	if len(r.Findings) > 0 {
		outcome = a.paint("31", "FAILED")
	}
	a.note("round %d: %s: gap %s ms, whole after %s ms, primary %s: %s", r.Number, clean(strings.Join(r.Faults, ", ")), r.Gap, r.Whole, r.NewPrimary, outcome)
	for _, f := range r.Findings {
		a.note("  %s", clean(f.String()))
	}
}

// drillTables shows the report.
func (a drillCommands) drillTables(r drill.Report) error {
	t := newTable("ms", "median", "worst")
	t.AppendRow([]any{"write gap", r.Gap.Median, r.Gap.Worst})
	t.AppendRow([]any{"all stream again", r.Whole.Median, r.Whole.Worst})
	if r.Endpoint != nil {
		t.AppendRow([]any{"endpoint leads again", r.Endpoint.Median, r.Endpoint.Worst})
	}
	for _, name := range drill.PhaseNames() {
		if p, ok := r.Phases[name]; ok {
			t.AppendRow([]any{name, p.Median, p.Worst})
		}
	}
	if err := a.renderTable(t); err != nil {
		return err
	}
	n := newTable("commits", "", "members", "")
	n.AppendRow([]any{"acknowledged", r.Acknowledged, "struck", r.Struck})
	n.AppendRow([]any{"lost", r.Lost, "back without a person", r.Back})
	n.AppendRow([]any{"unknown", r.Unknown, "writing at the same time", r.SecondWriters})
	if r.Reads != nil {
		n.AppendRow([]any{"read on ro", r.Reads.Count, "reads older than own writes on ro", r.Reads.Older})
	}
	if _, err := fmt.Fprintln(a.Out); err != nil {
		return err
	}
	if err := a.renderTable(n); err != nil {
		return err
	}
	if r.OK {
		a.note("\n%d rounds of %s through the %s, seed %d: no acknowledged commit lost, one writer at any time", len(r.Rounds), r.Fault, r.Through, r.Seed)
		return nil
	}
	a.note("\n%s in round %d of %s through the %s, seed %d", a.paint("31", "FAILED"), len(r.Rounds), r.Fault, r.Through, r.Seed)
	return nil
}
