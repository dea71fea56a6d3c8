package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a memberCommands) switchoverCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "switchover", Short: "Move the primary to a standby, without loss",
		Long: `Move the primary to a standby. The primary is stopped cleanly, the standby takes
over when it has all of the primary's changes, and the old primary follows it.

Clients: sessions to the old primary end, with an error for the transaction that
is open. No commit that was acknowledged is lost. Clients whose connection
string lists all members (pgapp url) find the new primary when they connect
again.

If the standby can't take over, the old primary starts again. Ctrl-C only stops
watching. Until the new primary is recorded, "pgapp ops ID --cancel" takes the
way back; afterwards the switchover runs to its end.

Next: pgapp ps; if a member was left behind, pgapp rejoin. A primary that
doesn't run is replaced by pgapp failover.`,
		Example: `  pgapp switchover
  pgapp switchover --to node2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkMember(to); err != nil {
				return err
			}
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
as a standby. A primary that works is refused: pgapp switchover moves it, and
loses nothing. Under durability async, so is one that takes writes and that no
standby receives from, unless --allow-data-loss is given.

What can be lost: under durability async, commits that were acknowledged and that
no standby has received. A new primary on this host takes them from the old one's
directory if that can still be read. Under durability quorum nothing of what
pgapp ps calls promised is lost.
What the old primary had and the new one lacks is counted when it comes back, and
stands in pgapp ops ID. If it can't be brought back, the failover is done all the
same: the exit code is 3, and pgapp rejoin tries again.

If no standby may be promoted, nothing is killed: error[quorum-lost] or
error[no-candidate] says who is missing. --allow-data-loss promotes the best
standby even if it may lack commits that were acknowledged.

A member given by --to is refused if it lacks commits that another one has. If that
turns out when the old primary has been killed, the other one becomes the primary,
and pgapp says so: pgapp switchover moves it on.

While the end of the old primary can't be proven, pgapp tries again each second,
and pgapp ps says what is left to prove. Ctrl-C only stops watching. Until the
new primary is recorded, "pgapp ops ID --cancel" ends it and starts the old
primary again.`,
		Example: `  pgapp failover
  pgapp failover --to node2 --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkMember(p.To); err != nil {
				return err
			}
			if err := a.confirmFailover(cmd.Context(), yes, p); err != nil {
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

// confirmFailover asks with the names of those concerned, and says what may be lost.
func (a memberCommands) confirmFailover(ctx context.Context, yes bool, p appliance.OperationParams) error {
	if yes {
		return nil
	}
	if err := a.canAsk("a failover kills the primary"); err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, a.cluster)
	if err != nil {
		return err
	}
	a.note("%s is the primary of cluster %s. It is killed if it still runs, and %s becomes the primary.",
		s.Primary, s.Name, cmp.Or(p.To, "the best standby"))
	switch {
	case p.AllowDataLoss:
		a.note("Commits that were acknowledged may be lost: --allow-data-loss.")
	case s.Promise != nil && !s.Promise.None():
		a.note("No commit that was acknowledged is lost: durability quorum.")
	default:
		a.note("Commits that were acknowledged and that no standby has received may be lost.")
	}
	return a.ask("Go on?")
}

// checkMember refuses what can't be a member's name.
func checkMember(name string) error {
	if name == "" || appliance.ValidName(name) {
		return nil
	}
	return appliance.NewProblem(appliance.ErrUsage, "%q is not the name of a member", name).WithHint("pgapp ps shows the members")
}

func (a memberCommands) toFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "to", "", "the member that becomes the primary (default: the best standby)")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeMembers) // fails for an unknown flag only
}

func (a memberCommands) rejoinCommand() *cobra.Command {
	cmd := a.operationCommand("rejoin [MEMBER]", "Bring members back as standbys after a change of primary", appliance.OpRejoin, false)
	cmd.Long = `Bring back the members that a change of primary has left behind, or one of them.
pgapp ps marks them. They are not started before that, since they could take
writes, or follow a timeline that the new primary isn't on.

A member that has nothing beyond the new primary's changes just follows it. One
that has more is rewound (pg_rewind), or cloned anew if that can't be done; what
it loses is counted before, and stands in pgapp ops ID. A repeat is safe.`
	return cmd
}

// dropped says what the members that were brought back have lost.
func (a *app) dropped(o appliance.Operation) {
	for _, d := range o.Discarded {
		a.note("%s", droppedText(d))
	}
}

func droppedText(d appliance.Discarded) string {
	switch {
	case d.Unknown != "":
		return fmt.Sprintf("%s dropped WAL that could not be counted: %s", d.Member, clean(d.Unknown))
	case d.Commits == 0:
		return fmt.Sprintf("%s dropped %s of WAL without a commit", d.Member, humanize.IBytes(uint64(max(d.Bytes, 0))))
	}
	text := fmt.Sprintf("%s dropped %s of WAL with %d commits that the new primary lacks", d.Member, humanize.IBytes(uint64(max(d.Bytes, 0))), d.Commits)
	if d.First != nil && d.Last != nil {
		text += fmt.Sprintf(", from %s to %s", d.First.Local().Format(time.DateTime), d.Last.Local().Format(time.DateTime))
	}
	return text
}
