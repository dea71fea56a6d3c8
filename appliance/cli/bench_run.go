package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/bench/load"
)

// benchRunFlags are the flags of bench run.
type benchRunFlags struct {
	load                    appliance.BenchLoad
	think, warmup, duration time.Duration
	throughGiven            bool
	id                      string
}

func (a benchCommands) benchRunCommand() *cobra.Command {
	f := &benchRunFlags{}
	l := bench.DefaultLoad()
	cmd := &cobra.Command{
		Use: "run", Short: "Drive one load and measure it",
		Long: benchRunLong,
		Example: `  pgapp bench run
  pgapp bench run --reads 50 --clients 16 --duration 1m
  pgapp bench run --rate 500 --clients 64 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.throughGiven = cmd.Flags().Changed("through")
			return a.benchRun(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.Float64Var(&f.load.ReadPercent, "reads", l.ReadPercent, "share of requests that only read, in percent")
	fl.IntVar(&f.load.Clients, "clients", l.Clients, "clients at once; with --rate the most that wait at once")
	fl.Float64Var(&f.load.Rate, "rate", l.Rate, "requests a second that arrive, whatever the site does; 0: each client waits for its answer")
	fl.DurationVar(&f.think, "think", 0, "a client's mean pause between two requests, without --rate")
	fl.Float64Var(&f.load.Zipf, "zipf", l.Zipf, "exponent by which films are popular; 0: all alike")
	fl.DurationVar(&f.warmup, "warmup", benchTime(l.WarmupSeconds), "time before the measurement")
	fl.DurationVar(&f.duration, "duration", benchTime(l.DurationSeconds), "time of the measurement")
	fl.StringVar(&f.load.Consistency, "consistency", l.Consistency, "eventual: any standby answers; session: clients see their own rentals at once")
	fl.StringVar(&f.load.Through, "through", l.Through, "endpoint, or members where the cluster has none; members")
	fl.StringVar(&f.load.ReadFrom, "read-from", l.ReadFrom, "standbys or primary")
	fl.Uint64Var(&f.load.Seed, "seed", l.Seed, "what chance is drawn from: the same seed asks for the same films")
	benchIDFlag(fl, &f.id)
	return cmd
}

const benchRunLong = `Drive the movie-rental site with one load, and measure throughput, latency, errors
and lag. Reads are categories, browsing, search, films and a customer's rentals;
writes rent a film, bring it back and pay.

Without --rate each client waits for its answer before it asks again (a closed
loop). With --rate requests arrive at random at that rate, as from people who know
nothing of each other (an open loop): a request's time is counted from when it
arrived, also where it had to wait for a client, so a stall shows in full. Requests
that have not begun 30 s after the end, as with a rate that is too high, are errors.

The load works in a copy of the cluster's Pagila, the database pgapp_bench, which
is removed in the end. A cluster whose database is not Pagila is refused. Ctrl-C
ends the load and keeps what was measured: pgapp bench ls lists it.

The driver's own use of the processors and its lateness are in the result. It says
so where the driver was late: 1 % of requests began more than 10 ms after their
time though a client was free, or the driver used 90 % of its processors. Members
on this machine share its processors with the driver.`

// flagOf is the flag of a load's field.
func flagOf(field string) string {
	return map[string]string{
		"read_percent": "--reads", "clients": "--clients", "rate": "--rate", "think_ms": "--think", "zipf": "--zipf", "warmup_seconds": "--warmup",
		"duration_seconds": "--duration", "consistency": "--consistency", "through": "--through", "read_from": "--read-from",
	}[field]
}

// spec is the load that the flags ask for.
func (f *benchRunFlags) spec() (appliance.BenchLoad, error) {
	l := f.load
	l.ThinkMillis = float64(f.think) / float64(time.Millisecond)
	l.WarmupSeconds, l.DurationSeconds = f.warmup.Seconds(), f.duration.Seconds()
	return l, load.Check(l, flagOf)
}

func (a benchCommands) benchRun(ctx context.Context, f *benchRunFlags) error {
	l, err := f.spec()
	if err != nil {
		return err
	}
	c, s, err := a.startedCluster(ctx)
	if err != nil {
		return err
	}
	if s.Endpoints == nil && !f.throughGiven {
		l.Through = load.ThroughMembers
	}
	b, err := a.benchOne(ctx, c, l, f.id)
	if b.EndedAt == nil { // nothing has begun
		return err
	}
	return errors.Join(a.print(b.Whole(), func() error { return a.benchResult(b) }), err)
}

// benchOne makes the database, drives the load and removes the database. The record is
// there from the beginning, and has no point where nothing was measured.
func (a benchCommands) benchOne(ctx context.Context, c *api.Client, l appliance.BenchLoad, id string) (appliance.Bench, error) {
	now := time.Now()
	b := appliance.Bench{
		ID: cmp.Or(id, bench.NewID(now)), Cluster: a.cluster, Kind: appliance.BenchRun, State: appliance.BenchRunning, Name: "run",
		Command: "pgapp " + strings.Join(bench.RunArgs(a.cluster, l), " "), CreatedAt: now.UTC(), Progress: appliance.BenchProgress{Total: 1},
		Experiments: []appliance.BenchExperiment{{
			Name: "run", Title: "How does the cluster carry this load?", Measure: "throughput", Repeats: 1, Variants: []appliance.BenchVariant{{Name: "run", Load: l}},
		}},
	}
	release, err := a.benches().Claim(b.ID)
	if err != nil {
		return b, err
	}
	defer release()
	if err := a.benches().Save(b); err != nil {
		return b, err
	}
	err = a.driveOne(ctx, benchHands{a.drillCommands, c}, &b, l)
	ended := time.Now().UTC()
	b.EndedAt, b.Progress.Doing, b.Progress.LeftSeconds, b.State = &ended, "", 0, appliance.BenchSucceeded
	switch {
	case ctx.Err() != nil:
		b.State = appliance.BenchCancelled
		err = benchInterrupted(b.ID)
	case err != nil:
		b.State, b.Error = appliance.BenchFailed, appliance.AsProblem(err)
	}
	return b, errors.Join(err, a.benches().Save(b))
}

// benchInterrupted is the end of a bench by Ctrl-C, whatever it was that broke off.
func benchInterrupted(id string) error {
	return appliance.NewProblem(appliance.ErrInterrupted, "bench %s was interrupted", id).WithHint("what it has measured is kept: pgapp bench show %s", id)
}

// driveOne has the load driven, and puts what was measured into b.
func (a benchCommands) driveOne(ctx context.Context, h benchHands, b *appliance.Bench, l appliance.BenchLoad) (err error) {
	if b.Setting, err = h.setting(ctx, l.Seed); err != nil {
		return err
	}
	a.note("copying the tables to database %s", appliance.BenchDatabase)
	if err := h.open(ctx); err != nil {
		return err
	}
	defer h.close(ctx)
	v := &b.Experiments[0].Variants[0]
	v.Standbys, v.Durability = len(b.Setting.Members)-1, b.Setting.Durability
	a.note("driving the load for %v s, after %v s to warm up", l.DurationSeconds, l.WarmupSeconds)
	began, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return err
	}
	tell := a.tellProgress(ctx, *b, benchTime(l.WarmupSeconds+l.DurationSeconds))
	p, err := h.measure(ctx, l, beside{})
	tell()
	if p.Result.Requests == 0 {
		return err
	}
	p.Experiment, p.Variant, p.Round = b.Experiments[0].Name, v.Name, 1
	b.Points, b.Progress.Done, b.Notes = []appliance.BenchPoint{p}, 1, benchNotes(p)
	if why := h.changed(context.WithoutCancel(ctx), began); why != nil { // who runs a load may mean to look at that
		b.Notes = append(b.Notes, clean(why.Error()))
	}
	return err
}

// progressEvery is the pause between two records of a run's progress. Each waits for the
// disk, which local members share, so that one a second would be in the 99th percentile of
// their commits.
const progressEvery = 5 * time.Second

// tellProgress keeps the record saying how much time is left, until stop is called.
func (a benchCommands) tellProgress(ctx context.Context, b appliance.Bench, lasts time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	end := time.Now().Add(lasts)
	wg.Go(func() {
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for ctx.Err() == nil {
			b.Progress.Doing, b.Progress.LeftSeconds = "driving the load", max(0, time.Until(end).Seconds())
			_ = a.benches().Save(b) // the last one, which counts, tells of a full disk
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// benchNotes are what a reader of the figures has to know.
func benchNotes(p appliance.BenchPoint) []string {
	var out []string
	d := p.Result.Driver
	if d.Late {
		out = append(out, fmt.Sprintf("the driver was late: it used %.2f cores, and 1 %% of its requests began more than %.1f ms after their time; the cluster may carry more", d.Cores, d.LateP99))
	} else if d.LateP99 > p.Result.Kinds["all"].P50 {
		out = append(out, fmt.Sprintf("requests had to wait for a client: 1 %% for more than %.1f ms, which is in their latency; more --clients let more of them wait at the cluster", d.LateP99))
	}
	if n := p.Result.Errors[load.NotBegun]; n > 0 {
		out = append(out, fmt.Sprintf("%d requests had not begun %v after the load's end, since more arrived than were answered: they count as errors, and their wait is not in the percentiles", n, load.Overdue))
	}
	if p.Partial {
		out = append(out, "ended before its time")
	}
	return out
}

// benchResult shows the result of a run, if it has one.
func (a benchCommands) benchResult(b appliance.Bench) error {
	if len(b.Points) == 0 {
		a.note("bench %s has ended before a request was answered: nothing was measured", b.ID)
		return nil
	}
	return a.benchTables(b)
}

// benchTables shows the result of a run.
func (a benchCommands) benchTables(b appliance.Bench) error {
	r := b.Points[0].Result
	t := newTable("request", "count", "mean ms", "p50", "p95", "p99", "max")
	kinds := slices.SortedFunc(maps.Keys(r.Kinds), func(x, y string) int { return benchOrder(x) - benchOrder(y) })
	for _, kind := range kinds {
		l := r.Kinds[kind]
		row := []any{kind, l.Count}
		for _, ms := range []float64{l.Mean, l.P50, l.P95, l.P99, l.Max} {
			row = append(row, fmt.Sprintf("%.2f", ms))
		}
		t.AppendRow(row)
	}
	if err := a.renderTable(t); err != nil {
		return err
	}
	s := newTable("", "")
	s.AppendRow([]any{"requests a second", fmt.Sprintf("%.1f", r.PerSecond)})
	s.AppendRow([]any{"answered by", counted(r.Answered)})
	s.AppendRow([]any{"errors", counted(r.Errors)})
	s.AppendRow([]any{"refused by the site", r.Refused})
	s.AppendRow([]any{"repeats", r.Retries})
	s.AppendRow([]any{"redirected to the primary", r.Redirected})
	s.AppendRow([]any{"own writes not seen", r.Missed})
	s.AppendRow([]any{"driver", fmt.Sprintf("%.2f cores, late by %.2f ms (p99)", r.Driver.Cores, r.Driver.LateP99)})
	if _, err := fmt.Fprintln(a.Out); err != nil {
		return err
	}
	if err := a.renderTable(s); err != nil {
		return err
	}
	for _, n := range b.Notes {
		a.note("%s", n)
	}
	a.note("\nbench %s", b.ID)
	return nil
}

// benchOrder is the place of a kind in the table.
func benchOrder(kind string) int {
	return slices.Index([]string{"categories", "browse", "search", "film", "rentals", "rent", "return", "pay", "read", "write", "all"}, kind)
}

// counted lists counts by name.
func counted(counts map[string]int64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", clean(name), counts[name]))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
