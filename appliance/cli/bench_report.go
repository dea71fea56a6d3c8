package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pgapp/appliance"
	"pgapp/appliance/bench/report"
)

func (a benchCommands) benchReport() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "report [ID]", Short: "Write what a bench measured as a page, a PDF and tables",
		Long: `Write the report of a bench to a directory: report.html, one page that needs nothing
else; report.pdf with the same content; report.json, the whole record; and
samples.csv, with a row for each second and each kind of request.

Without ID it is the newest suite's. The path of a report.json stands for an ID, also
of another machine's bench. Figures are the median of the rounds with the least and
the most; each conclusion is made by rule from the figures.`,
		Example: `  pgapp bench report
  pgapp bench report 20260301-120000-abcd --out /srv/www/bench
  pgapp bench report --out page other/report.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return appliance.NewProblem(appliance.ErrUsage, "%s takes one bench, or none", cmd.CommandPath()).WithHint("see '%s --help'", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			find := a.newestBench
			if len(args) == 1 {
				find = func() (appliance.Bench, error) { return a.benchOf(args[0]) }
			}
			b, err := find()
			if err != nil {
				return err
			}
			if out == "" {
				out = "pgapp-bench-" + b.ID
			}
			paths, err := report.Write(out, b)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"bench": b.ID, "files": paths}, func() error {
				_, err := fmt.Fprintln(a.Out, strings.Join(paths, "\n"))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "directory to make (default pgapp-bench-ID); a report that is there is replaced")
	return cmd
}

func (a benchCommands) benchCompare() *cobra.Command {
	return &cobra.Command{
		Use: "compare A B", Short: "Show how the figures of two benches differ",
		Long: `Put the figures of bench B beside those of bench A, by experiment and variant. B is
"more" or "less" where the spreads of at least three rounds each do not overlap; where
they overlap, there is "no difference". A and B are ids of benches, or paths of reports' report.json.`,
		Example: `  pgapp bench compare 20260301-120000-abcd 20260302-120000-abcd
  pgapp bench compare before/report.json after/report.json`,
		Args: twoArgs("two benches"),
		RunE: func(_ *cobra.Command, args []string) error {
			x, err := a.benchOf(args[0])
			if err != nil {
				return err
			}
			y, err := a.benchOf(args[1])
			if err != nil {
				return err
			}
			c, err := report.Compare(x, y)
			if err != nil {
				return err
			}
			return a.print(c, func() error { return a.comparisonTable(c) })
		},
	}
}

// twoArgs wants exactly two arguments.
func twoArgs(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 || args[0] == "" || args[1] == "" {
			return appliance.NewProblem(appliance.ErrUsage, "%s takes %s", cmd.CommandPath(), what).WithHint("see '%s --help'", cmd.CommandPath())
		}
		return nil
	}
}

// benchOf takes the id of a bench, or the path of a file with the record of one.
func (a benchCommands) benchOf(arg string) (appliance.Bench, error) {
	if strings.ContainsRune(arg, os.PathSeparator) || strings.HasSuffix(arg, ".json") {
		return benchIn(arg)
	}
	return a.benches().Load(arg)
}

// newestBench is the newest suite, or without suites the newest bench.
func (a benchCommands) newestBench() (appliance.Bench, error) {
	all, err := a.benches().List()
	switch {
	case len(all) == 0 && err != nil:
		return appliance.Bench{}, err
	case len(all) == 0:
		return appliance.Bench{}, appliance.NewProblem(appliance.ErrNotFound, "there is no bench").WithHint("pgapp bench run measures the cluster")
	}
	if i := slices.IndexFunc(all, func(b appliance.Bench) bool { return b.Kind == appliance.BenchSuite }); i >= 0 {
		return all[i], nil
	}
	return all[0], nil
}

// benchIn reads the record of a bench from a file.
func benchIn(path string) (appliance.Bench, error) {
	var b appliance.Bench
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, appliance.NewProblem(appliance.ErrNotFound, "there is no file %q", path)
	}
	if err != nil {
		return b, fmt.Errorf("reading bench %q: %w", path, err)
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, appliance.NewProblem(appliance.ErrUsage, "reading bench %q: %w", path, err).WithHint("a report's record is its report.json")
	}
	if !regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`).MatchString(b.ID) { // it becomes part of a path
		return b, appliance.NewProblem(appliance.ErrUsage, "file %q holds no bench", path).WithHint("a report's record is its report.json")
	}
	return b, nil
}

func (a benchCommands) comparisonTable(c report.Comparison) error {
	t := newTable("experiment", "variant", "figure", "a", "b", "ratio", "b against a")
	for _, r := range c.Rows {
		ratio, figure := "–", r.Figure
		if r.Unit != "/s" {
			figure += ", " + r.Unit
		}
		if r.Ratio != nil {
			ratio = r.Ratio.String()
		}
		t.AppendRow([]any{clean(r.Experiment), clean(r.Variant), figure, r.A.String(), r.B.String(), ratio, r.Verdict})
	}
	if err := a.renderTable(t); err != nil {
		return err
	}
	a.note("A is bench %s, B is bench %s", clean(c.A), clean(c.B))
	for _, n := range c.Notes {
		a.note("%s", clean(n))
	}
	return nil
}
