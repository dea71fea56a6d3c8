package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a lookCommands) opsCommand() *cobra.Command {
	var follow, cancel bool
	cmd := &cobra.Command{
		Use: "ops [ID]", Short: "List the operations, or show one",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return appliance.NewProblem(appliance.ErrUsage, "%s takes one operation's id", cmd.CommandPath())
			}
			if len(args) == 0 && (follow || cancel) {
				return appliance.NewProblem(appliance.ErrUsage, "--follow and --cancel need an operation's id").WithHint("pgapp ops lists them")
			}
			if len(args) == 1 {
				return checkOperationID(args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listOperations(cmd)
			}
			return a.oneOperation(cmd, args[0], follow, cancel)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait until the operation ends; its outcome is the exit code")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "stop the operation where it is")
	return cmd
}

func (a lookCommands) listOperations(cmd *cobra.Command) error {
	c, err := a.client(cmd.Context())
	if err != nil {
		return err
	}
	cluster := ""
	if cmd.Flags().Changed("cluster") {
		cluster = a.cluster
	}
	list, err := c.Operations(cmd.Context(), cluster)
	if err != nil {
		return err
	}
	return a.print(list, func() error {
		t := newTable("id", "cluster", "kind", "member", "state", "began", "took")
		for _, o := range list {
			took := ""
			if o.EndedAt != nil {
				took = fmt.Sprintf("%.2fs", o.EndedAt.Sub(o.CreatedAt).Seconds())
			}
			t.AppendRow([]any{o.ID, o.Cluster, o.Kind, cmp.Or(o.Params.Member, o.Params.To), o.State, o.CreatedAt.Local().Format(time.DateTime), took})
		}
		return a.renderTable(t)
	})
}

func (a lookCommands) oneOperation(cmd *cobra.Command, id string, follow, cancel bool) error {
	c, err := a.client(cmd.Context())
	if err != nil {
		return err
	}
	var o appliance.Operation
	if cancel {
		o, err = c.Cancel(cmd.Context(), id)
	} else {
		o, err = c.Operation(cmd.Context(), id)
	}
	if err != nil {
		return err
	}
	if follow {
		if o, err = a.follow(cmd.Context(), c, o); err != nil {
			return err
		}
	}
	return a.print(o, func() error {
		t := newTable("step", "member", "state", "seconds", "")
		for _, s := range o.Steps {
			detail := describe(s.Progress)
			if s.Error != nil {
				detail = s.Error.Error()
			}
			t.AppendRow([]any{s.Title, s.Member, s.State, fmt.Sprintf("%.3f", s.Seconds), clean(detail)})
		}
		a.note("operation %s (%s) of cluster %s: %s", o.ID, o.Kind, o.Cluster, outcome(o))
		if err := a.renderTable(t); err != nil {
			return err
		}
		a.dropped(o)
		return nil
	})
}

// outcome describes the operation's state.
func outcome(o appliance.Operation) string {
	if o.SupersededBy != "" {
		return fmt.Sprintf("%s by operation %s", o.State, o.SupersededBy)
	}
	return string(o.State)
}

func (a lookCommands) logsCommand() *cobra.Command {
	var follow, daemon bool
	cmd := &cobra.Command{
		Use: "logs [MEMBER]", Short: "Show the servers' logs, or one member's",
		Args: memberArg(false), ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if daemon {
				err = c.DaemonLogs(cmd.Context(), follow, a.Out)
			} else {
				err = c.Logs(cmd.Context(), a.cluster, first(args), follow, a.Out)
			}
			if follow && cmd.Context().Err() != nil {
				return nil //nolint:nilerr // how a follower leaves
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print new lines as they come")
	cmd.Flags().BoolVar(&daemon, "daemon", false, "show the daemon's log instead")
	return cmd
}
