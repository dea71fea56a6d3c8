package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/bench/suitefile"
	"pgapp/appliance/drill"
)

// benchSuiteFlags are the flags of bench suite.
type benchSuiteFlags struct {
	quick, resume, print bool
	// path is that of the user's file; empty for pgapp's own.
	path string
	// id is that of a new suite, where the daemon has chosen one.
	id    string
	seed  uint64
	share float64
	// given tells which were given.
	given map[string]bool
}

func (a benchCommands) benchSuiteCommand() *cobra.Command {
	f := &benchSuiteFlags{}
	cmd := &cobra.Command{
		Use: "suite", Short: "Measure a series of experiments, for a report",
		Long: benchSuiteLong,
		Example: `  pgapp bench suite --quick
  pgapp bench suite
  pgapp bench suite --print > mine.yaml
  pgapp bench suite --file mine.yaml
  pgapp bench suite --resume
  pgapp bench suite --resume 20260301-120000-abcd`,
		Args: func(cmd *cobra.Command, args []string) error {
			if !f.resume || len(args) > 1 {
				return noArgs(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.given = map[string]bool{}
			cmd.Flags().Visit(func(given *pflag.Flag) { f.given[given.Name] = true })
			if err := f.check(); err != nil {
				return err
			}
			if f.print {
				_, err := a.Out.Write(suitefile.Own(f.quick))
				return err
			}
			return a.benchSuite(cmd.Context(), f, first(args))
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.quick, "quick", false, "few variants and short points, about two minutes in all")
	fl.BoolVar(&f.resume, "resume", false, "go on with the bench ID, or with the newest suite of the cluster that did not come to its end")
	fl.Float64Var(&f.share, "share", 0, "each local member's share of the processors in cores, 0 for no shares (default 60 % of the machine's for all members)")
	fl.Uint64Var(&f.seed, "seed", 1, "what chance is drawn from, in place of the file's")
	fl.StringVar(&f.path, "file", "", "file that says what is measured, - for standard input (default pgapp's own)")
	fl.BoolVar(&f.print, "print", false, "write pgapp's own file, and measure nothing")
	benchIDFlag(fl, &f.id)
	return cmd
}

const benchSuiteLong = `Measure a series of experiments on the cluster, each point three times in changing
order: the primary alone and with standbys, async and quorum, the way through the
endpoint and without it, eventual and session consistency, bursts of writes, a
switchover and a killed primary in the middle of a load. pgapp bench report writes
what came out.

What is measured is in a file, which can be changed: --print writes pgapp's own, with
comments, and --file takes another. A file holds numbers, names and words out of
lists, no SQL, command or path, so that a stranger's can be tried.

The suite changes the cluster: it stops and starts standbys, changes the durability,
and moves and kills the primary. In the end, after Ctrl-C and after an error it puts
back primary, durability and standbys, and removes its database. After kill -9 a
process that the suite has started does that; where that was killed too, the next
bench command. Failovers of the suite don't count towards the three in an hour.

Members on one machine share its processors: each local member gets the same share
(cgroup, --share), as virtual machines do by their number of processors. Where that
can't be, as without rights to the control groups, the report says so, and the
figures say nothing about scaling.

A cluster that is not whole is refused. What the cluster can't do is left out, and
the report says so. --resume goes on with the points that are not measured yet, on
the same members, with the same programs.`

func (a benchCommands) benchSuite(ctx context.Context, f *benchSuiteFlags, id string) error {
	file, err := f.suiteFile(a.In)
	if err != nil {
		return err
	}
	c, s, err := a.startedCluster(ctx)
	if err != nil {
		return err
	}
	if err := a.wholeForSuite(s); err != nil {
		return err
	}
	r, err := a.suiteOf(ctx, c, s, f, file, id)
	if err != nil {
		return err
	}
	release, err := a.benches().Claim(r.bench.ID)
	if err != nil {
		return err
	}
	defer release()
	err = r.play(ctx, s)
	if r.bench.Before == nil { // nothing has begun
		return err
	}
	a.note("bench %s: %d of %d points; pgapp bench report %s writes its report", r.bench.ID, r.bench.Progress.Done, r.bench.Progress.Total, r.bench.ID)
	return errors.Join(a.print(r.bench.Whole(), func() error { return a.suiteTable(r.bench) }), err)
}

// wholeForSuite refuses a cluster that a suite could not put back as it is.
func (a benchCommands) wholeForSuite(s appliance.ClusterStatus) error {
	if len(s.Members) < 2 {
		return appliance.NewProblem(appliance.ErrConflict, "no suite: cluster %q has no standby", a.cluster).WithHint("pgapp scale --standbys 3 adds some")
	}
	for _, m := range s.Members {
		if m.State == appliance.StateStopped {
			return appliance.NewProblem(appliance.ErrConflict, "no suite: the cluster is not whole: %s is stopped", m.Name).WithHint("pgapp start starts it")
		}
	}
	if found := drill.Whole(s); len(found) > 0 {
		return appliance.NewProblem(appliance.ErrConflict, "no suite: the cluster is not whole: %s", found[0]).WithHint("pgapp ps shows the members")
	}
	return nil
}

// suiteOf is the suite to be run: a new one, or one to be resumed.
func (a benchCommands) suiteOf(ctx context.Context, c *api.Client, s appliance.ClusterStatus, f *benchSuiteFlags, file suitefile.File, id string) (*suiteRun, error) {
	h := benchHands{a.drillCommands, c}
	now := time.Now()
	experiments, notes, err := bench.Fit(file.Experiments(len(s.Members)-1, s.Durability), s)
	if err != nil {
		return nil, err
	}
	r := &suiteRun{benchHands: h, records: a.benches(), bench: appliance.Bench{
		ID: cmp.Or(f.id, bench.NewID(now)), Cluster: a.cluster, Kind: appliance.BenchSuite, Name: file.Name,
		Command: f.command(a.cluster, file.Seed), CreatedAt: now.UTC(),
		Experiments: experiments, Notes: notes,
	}}
	if r.bench.Setting, err = h.setting(ctx, file.Seed); err != nil {
		return nil, err
	}
	if !f.resume {
		return r, r.share(ctx, s, f.askedShare())
	}
	old, err := a.interrupted(id)
	if err != nil {
		return nil, err
	}
	asked := f.askedShare()
	if asked == nil && !machines(s) {
		asked = &old.Setting.Share
	}
	if err := r.share(ctx, s, asked); err != nil {
		return nil, err
	}
	if f.given["quick"] || f.given["seed"] || f.given["file"] {
		if err := bench.SameSuite(old, experiments); err != nil {
			return nil, err
		}
	}
	if err := bench.Resumable(old, r.bench.Setting, s); err != nil {
		return nil, err
	}
	old.Notes = append(old.Notes, fmt.Sprintf("the suite was %s after %d of %d points, and went on later", old.State, old.Progress.Done, old.Progress.Total))
	r.bench = old
	return r, nil
}

// askedShare is the share that the user asks for, nil where none was.
func (f *benchSuiteFlags) askedShare() *float64 {
	if !f.given["share"] {
		return nil
	}
	return &f.share
}

// share finds out each member's share of the processors.
func (r *suiteRun) share(ctx context.Context, s appliance.ClusterStatus, asked *float64) error {
	of, note, err := r.benchHands.shares(ctx, s, r.bench.Setting.Cores, asked)
	if err != nil {
		return err
	}
	if r.shares, r.bench.Setting.Share = of, of.cores; note != "" {
		r.bench.Notes = append(r.bench.Notes, note)
	}
	return nil
}

// interrupted is the bench of the id, or the newest suite of the cluster that has not come
// to its end.
func (a benchCommands) interrupted(id string) (appliance.Bench, error) {
	if id != "" {
		b, err := a.benches().Load(id)
		if err == nil && b.Cluster != a.cluster {
			err = appliance.NewProblem(appliance.ErrUsage, "bench %s is of cluster %q", id, b.Cluster).WithHint("--cluster %s is its cluster", b.Cluster)
		}
		return b, err
	}
	all, err := a.benches().List()
	i := slices.IndexFunc(all, func(b appliance.Bench) bool {
		return b.Kind == appliance.BenchSuite && b.Cluster == a.cluster && b.State != appliance.BenchSucceeded
	})
	if i < 0 {
		return appliance.Bench{}, errors.Join(appliance.NewProblem(appliance.ErrNotFound, "cluster %q has no suite that could be resumed", a.cluster).WithHint("pgapp bench ls shows the benches"), err)
	}
	return all[i], nil
}
