package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/home"
)

// benchCancelLimit bounds the end of a bench that has to move the primary back and start
// standbys.
const benchCancelLimit = 10 * time.Minute

// benches are the records of the home's benches.
func (a *app) benches() bench.Records {
	return bench.Records{Dir: filepath.Join(a.home, home.BenchesDir)}
}

// benchTime is a time that a load gives in seconds.
func benchTime(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}

// benchIDFlag is the flag by which the daemon names a bench that it starts.
func benchIDFlag(fl *pflag.FlagSet, id *string) {
	fl.StringVar(id, bench.IDFlag, "", "id of the bench")
	_ = fl.MarkHidden(bench.IDFlag) // it is there
}

func (a benchCommands) benchLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List benches, newest first",
		Example: `  pgapp bench ls
  pgapp bench ls -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := a.benches().List()
			return errors.Join(a.print(all, func() error { return a.benchList(all) }), err)
		},
	}
}

func (a benchCommands) benchList(all []appliance.Bench) error {
	t := newTable("id", "cluster", "name", "state", "points", "begun", "seconds")
	for _, b := range all {
		took := ""
		if b.EndedAt != nil {
			took = fmt.Sprintf("%.0f", b.EndedAt.Sub(b.CreatedAt).Seconds())
		}
		t.AppendRow([]any{b.ID, clean(b.Cluster), clean(b.Name), b.State, fmt.Sprintf("%d/%d", b.Progress.Done, b.Progress.Total), b.CreatedAt.Local().Format(time.DateTime), took})
	}
	return a.renderTable(t)
}

func (a benchCommands) benchShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show what a bench has measured",
		Example: `  pgapp bench show 20260301-120000-abcd
  pgapp bench show 20260301-120000-abcd -o json`,
		Args: benchIDs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.benches().Load(args[0])
			if err != nil {
				return err
			}
			return a.print(b, func() error { return a.benchShow(b) })
		},
	}
}

// benchShow shows a run's tables, or a suite's experiments.
func (a benchCommands) benchShow(b appliance.Bench) error {
	a.note("bench %s (%s) of cluster %s: %s, %d of %d points", b.ID, clean(b.Name), clean(b.Cluster), b.State, b.Progress.Done, b.Progress.Total)
	a.note("again: %s", clean(b.Command))
	if b.Kind == appliance.BenchRun && len(b.Points) < 2 {
		return a.benchResult(b)
	}
	if err := a.suiteTable(b); err != nil {
		return err
	}
	for _, n := range b.Notes {
		a.note("%s", clean(n))
	}
	return nil
}

func (a benchCommands) benchCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "End the bench that runs; what it has measured is kept",
		Long: `End the bench that runs, as Ctrl-C does where it was begun, and wait until its
database is removed and the cluster is as it was. What was measured is kept.`,
		Example: `  pgapp bench cancel 20260301-120000-abcd`,
		Args:    benchIDs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.benches().Cancel(args[0]); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), benchCancelLimit)
			defer cancel()
			b, err := a.benches().Ended(ctx, args[0])
			if err != nil {
				return err
			}
			return a.print(b, func() error {
				a.note("bench %s is %s, with %d of %d points", b.ID, b.State, b.Progress.Done, b.Progress.Total)
				return nil
			})
		},
	}
}

func (a benchCommands) benchRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Short: "Remove what benches have measured",
		Example: `  pgapp bench rm 20260301-120000-abcd`,
		Args:    benchIDs(0),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, id := range args {
				err := a.benches().Remove(id)
				if err == nil {
					a.note("bench %s is removed", id)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// benchIDs wants that many ids of benches, or with 0 at least one.
func benchIDs(number int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || number > 0 && len(args) != number {
			return appliance.NewProblem(appliance.ErrUsage, "%s takes the id of a bench", cmd.CommandPath()).WithHint("pgapp bench ls shows them")
		}
		return nil
	}
}
