package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
)

func (a memberCommands) pauseCommand() *cobra.Command {
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "pause", Short: "Keep pgapp from acting by itself, as for work on the machines",
		Long: `Keep pgapp from replacing a dead primary and bringing back members by itself,
as for work on the machines. The pause is in force when the command returns, and
lasts until pgapp resume, or for the time of --for. Commands work as before, and
an operation that runs goes on.

pgapp still looks at the members: pgapp ps says what it would do. A repeat sets
the end of the pause anew. A pause outlives the daemon and the host; clusters
that should run are still started with them.`,
		Example: `  pgapp pause
  pgapp pause --for 30m`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && lasts <= 0 {
				return appliance.NewProblem(appliance.ErrUsage, "--for takes a time above 0, such as 90s, 10m or 1h30m, not %s", lasts)
			}
			return a.automation(cmd.Context(), func(p api.ClientPauses) (appliance.Automation, error) { return p.Pause(cmd.Context(), lasts) })
		},
	}
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long the pause lasts, such as 30m (default: until pgapp resume)")
	return cmd
}

func (a memberCommands) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "End the pause: pgapp acts by itself again",
		Long: `End the pause of pgapp pause. What pgapp would have done meanwhile it does now, if it
still has to be done: pgapp ps shows it before.

After three failovers in an hour pgapp makes no other by itself before a person
has looked: resume says that you have, and the count begins anew. A repeat is safe.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.automation(cmd.Context(), func(p api.ClientPauses) (appliance.Automation, error) { return p.Resume(cmd.Context()) })
		},
	}
}

// automation changes whether pgapp acts by itself, and says how it is then.
func (a memberCommands) automation(ctx context.Context, change func(api.ClientPauses) (appliance.Automation, error)) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	now, err := change(c.Pauses(a.cluster))
	if err != nil {
		return err
	}
	return a.print(now, func() error {
		a.note("automatic: %s", automaticText(now.Automatic, now.Pause))
		return nil
	})
}

// automaticText says whether pgapp acts by itself, and what changes that.
func automaticText(state appliance.Automatic, p *appliance.Pause) string {
	text := string(state)
	switch {
	case state == appliance.AutomaticObserving:
		text += "; pgapp info says why"
	case p != nil && p.Until != nil:
		text += " until " + p.Until.Local().Format(time.DateTime) + "; pgapp resume ends the pause"
	case p != nil:
		text += "; pgapp resume ends the pause"
	}
	return text
}

// automaticNotes says what keeps pgapp from acting by itself, and what it would do. While
// it does something the operation says it.
func (a *app) automaticNotes(s appliance.ClusterStatus) {
	if s.Automatic == appliance.AutomaticPaused || s.Automatic == appliance.AutomaticObserving {
		a.note("automatic: %s", automaticText(s.Automatic, s.Pause))
	}
	for _, d := range s.Doubts {
		if d.Withheld == "" || s.Change != nil || s.Operation != "" && d.Deed != "replace" {
			continue
		}
		a.note("pgapp would %s: %s", deedText(d), clean(d.Evidence))
		a.note("not done: %s", clean(d.Withheld))
	}
}

func deedText(d appliance.Doubt) string {
	switch d.Deed {
	case "replace":
		return "replace " + d.Member
	case "revive":
		return "start " + d.Member
	case "return":
		return "bring back " + d.Member
	case "settle":
		return "change the promise"
	}
	return fmt.Sprintf("%s %s", d.Deed, d.Member)
}
