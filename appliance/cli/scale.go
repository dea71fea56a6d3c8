package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a upCommands) scaleCommand() *cobra.Command {
	var standbys int
	var force bool
	cmd := &cobra.Command{
		Use: "scale --standbys N", Short: "Add standbys, or remove those with the highest numbers",
		Long: `Bring the number of standbys to N. New ones are cloned from the primary while it
works on; those that go leave with their slots and all their data.`,
		Example: "  pgapp scale --standbys 5",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("standbys") {
				return appliance.NewProblem(appliance.ErrUsage, "scale needs --standbys").WithHint("pgapp scale --standbys 3")
			}
			return a.scale(cmd, appliance.ScaleWish{Standbys: &standbys, Force: force})
		},
	}
	cmd.Flags().IntVar(&standbys, "standbys", 0, "number of hot standbys")
	cmd.Flags().BoolVar(&force, "force", false, forceHelp)
	return cmd
}

func (a upCommands) scale(cmd *cobra.Command, w appliance.ScaleWish) error {
	spec := appliance.Spec{Name: a.cluster, Standbys: w.Standbys}
	if err := spec.WithDefaults().Validate(); err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	o, err := c.Scale(ctx, a.cluster, w)
	if err != nil {
		return err
	}
	if _, err := a.follow(ctx, c, o); err != nil {
		return err
	}
	s, err := c.Status(ctx, a.cluster)
	if err != nil {
		return err
	}
	return a.print(s, func() error { return a.memberTable(s) })
}

// planned prints what up would do.
func (a upCommands) planned(o appliance.Operation) error {
	return a.print(o, func() error {
		todo := 0
		for _, s := range o.Steps {
			mark := "+"
			if s.AlreadyDone {
				mark = "="
			} else {
				todo++
			}
			line := fmt.Sprintf("%s %-22s %-7s %s", mark, clean(s.ID), s.Member, clean(s.Title))
			if _, err := io.WriteString(a.Out, strings.TrimRight(line, " ")+"\n"); err != nil {
				return err
			}
		}
		a.note("nothing was changed: %d steps to do (+), %d already done (=)", todo, len(o.Steps)-todo)
		return nil
	})
}
