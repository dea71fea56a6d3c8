package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a memberCommands) switchoverCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "switchover", Short: "Move the primary to a standby, without loss",
		Long: `Move the primary to a standby. The primary is stopped cleanly, the standby takes
over when it has all of the primary's changes, and the old primary follows it.
Sessions to the primary end; no commit is lost.

If the standby can't take over, the old primary starts again. Until the new
primary is recorded, Ctrl-C or "pgapp ops ID --cancel" takes the same way back.`,
		Example: `  pgapp switchover
  pgapp switchover --to node2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.submit(cmd.Context(), appliance.OpSwitchover, appliance.OperationParams{To: to})
		},
	}
	a.toFlag(cmd, &to)
	return cmd
}

func (a memberCommands) failoverCommand() *cobra.Command {
	var p appliance.OperationParams
	var yes bool
	cmd := &cobra.Command{
		Use: "failover", Short: "Replace a dead primary by a standby",
		Long: `Replace a primary that is dead or out of reach. What is left of it is killed first,
and nothing is promoted before its end is proven. Then the standby with the most
changes becomes the primary, the others follow it, and the old primary comes back
as a standby.

If no standby may be promoted, nothing is killed. --allow-data-loss promotes the
best one even if it may lack commits that were acknowledged.

A primary that works is moved by "pgapp switchover", which loses nothing.`,
		Example: `  pgapp failover
  pgapp failover --to node2 --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			question := fmt.Sprintf("Kill the primary of cluster %q and promote a standby?", a.cluster)
			if p.AllowDataLoss {
				question = fmt.Sprintf("Kill the primary of cluster %q and promote a standby that may lack acknowledged commits?", a.cluster)
			}
			if err := a.confirm(yes, question); err != nil {
				return err
			}
			return a.submit(cmd.Context(), appliance.OpFailover, p)
		},
	}
	a.toFlag(cmd, &p.To)
	cmd.Flags().BoolVar(&p.AllowDataLoss, "allow-data-loss", false, "promote a standby that may lack acknowledged commits")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

func (a memberCommands) toFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "to", "", "the member that becomes the primary (default: the best standby)")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeMembers) // fails for an unknown flag only
}

func (a memberCommands) rejoinCommand() *cobra.Command {
	cmd := a.operationCommand("rejoin [MEMBER]", "Bring members back as standbys after a change of primary", appliance.OpRejoin, false)
	cmd.Long = `Bring back the members that a change of primary has left behind, or one of them. A
member whose changes the new primary lacks is rewound, or cloned anew if that can't
be done; what it loses is counted before.`
	return cmd
}
