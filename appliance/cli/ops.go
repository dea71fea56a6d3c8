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
		Long: `List the operations, newest first, or show one with its steps and their times. Of
those that pgapp began by itself, it says what was seen; of a change of primary, who
took over, how long each phase took, and what the old primary dropped.`,
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
		t := newTable("id", "cluster", "kind", "member", "by", "state", "began", "took")
		for _, o := range list {
			t.AppendRow([]any{o.ID, o.Cluster, o.Kind, cmp.Or(o.Params.Member, o.Params.To), begunBy(o), o.State, o.CreatedAt.Local().Format(time.DateTime), took(o)})
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
	return a.print(o, func() error { return a.operation(o) })
}

// operation tells the operation from its beginning to its end.
func (a lookCommands) operation(o appliance.Operation) error {
	t := newTable("step", "member", "state", "seconds", "")
	for _, s := range o.Steps {
		detail := describe(s.Progress)
		if s.Error != nil {
			detail = s.Error.Error()
		}
		t.AppendRow([]any{s.Title, s.Member, s.State, fmt.Sprintf("%.3f", s.Seconds), clean(detail)})
	}
	a.note("operation %s (%s) of cluster %s: %s", o.ID, o.Kind, o.Cluster, outcome(o))
	a.story(o)
	if err := a.renderTable(t); err != nil {
		return err
	}
	a.dropped(o)
	return nil
}

// begunBy says who began the operation.
func begunBy(o appliance.Operation) string {
	if o.Params.Reason != "" || o.Params.KeepStopped {
		return "pgapp"
	}
	return "user"
}

// story says what pgapp saw before it began the operation by itself, how long the
// operation took, and what was chosen in it.
func (a lookCommands) story(o appliance.Operation) {
	text := "begun at " + o.CreatedAt.Local().Format("2006-01-02 15:04:05.000") + " by " + begunBy(o)
	if t := took(o); t != "" {
		text += ", took " + t
	}
	a.note("%s", text)
	switch {
	case o.Params.Reason != "":
		a.note("reason: %s", clean(o.Params.Reason))
	case o.Params.KeepStopped:
		a.note("reason: the cluster should run, and doesn't")
	}
	if o.Note != "" {
		a.note("%s", clean(o.Note))
	}
}

// outcome describes the operation's state.
func outcome(o appliance.Operation) string {
	if o.SupersededBy != "" {
		return fmt.Sprintf("%s by operation %s", o.State, o.SupersededBy)
	}
	return string(o.State)
}

// took is the operation's duration in seconds, empty while it runs.
func took(o appliance.Operation) string {
	if o.EndedAt == nil {
		return ""
	}
	return fmt.Sprintf("%.2fs", o.EndedAt.Sub(o.CreatedAt).Seconds())
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
