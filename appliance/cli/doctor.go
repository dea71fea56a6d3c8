package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a upCommands) doctorCommand() *cobra.Command {
	var fix bool
	f := &upFlags{}
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check what this host needs for a cluster",
		Long: `Check what this host needs for a cluster, without starting anything. A FAIL stands
in the way of 'pgapp up' and makes the exit code 7; a WARN does not.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd, f, fix) },
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "repair what is safe to repair and can be undone")
	cmd.Flags().StringVar(&f.provider, "provider", "", "local or libvirt (default: both)")
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "YAML file with the cluster's spec")
	cmd.Flags().IntVar(&f.standbys, "standbys", appliance.DefaultStandbys, "number of hot standbys")
	return cmd
}

func (a upCommands) doctor(cmd *cobra.Command, f *upFlags, fix bool) error {
	spec, err := a.specOf(cmd, f)
	if err != nil {
		return err
	}
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return err
	}
	findings, mended, err := a.local.Doctor(cmd.Context(), a.home, spec, fix)
	if err != nil {
		return err
	}
	for _, id := range mended {
		a.note("repaired: %s", id)
	}
	if slices.ContainsFunc(findings, func(f appliance.Finding) bool { return f.Level == appliance.LevelFail }) {
		a.exit = appliance.ExitHost
	}
	return a.print(map[string]any{"ok": a.exit == 0, "findings": findings}, func() error { return a.findingTable(findings) })
}

func (a upCommands) findingTable(findings []appliance.Finding) error {
	colour := map[appliance.FindingLevel]string{appliance.LevelPass: "32", appliance.LevelWarn: "33", appliance.LevelFail: "31", appliance.LevelSkip: "0"}
	t := newTable("", "check", "finding")
	for _, f := range findings {
		t.AppendRow([]any{a.paint(colour[f.Level], string(f.Level)), f.ID, clean(f.Summary)})
		if f.Fix != "" && f.Level != appliance.LevelPass {
			t.AppendRow([]any{"", "", "→ " + clean(f.Fix)})
		}
	}
	return a.renderTable(t)
}
