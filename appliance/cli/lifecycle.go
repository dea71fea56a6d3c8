package cli

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"pgapp/appliance"
)

// memberCommands start, stop and remove clusters and members.
type memberCommands struct{ *app }

func (a memberCommands) stopCommand() *cobra.Command {
	cmd := a.forcedCommand("stop [MEMBER]", "Stop the cluster, or one member; the data stay", appliance.OpStop, false)
	cmd.Long = `Stop the cluster, or one member; the data stay. A member that was stopped stays
stopped until it is started again.

Under durability quorum a commit waits for standbys. The last one that is waited
for is stopped only with --force: from then on nothing is promised, until a
standby is started again.`
	return cmd
}

func (a memberCommands) startCommand() *cobra.Command {
	return a.operationCommand("start [MEMBER]", "Start the cluster, or one member", appliance.OpStart, false)
}

func (a memberCommands) restartCommand() *cobra.Command {
	cmd := a.operationCommand("restart [MEMBER]", "Restart the cluster, or one member", appliance.OpRestart, false)
	cmd.Long = `Restart the cluster, or one member. The whole cluster is restarted one member
after the other, so that reads go on: first the standbys, then one of them
becomes the primary, as with pgapp switchover, and the old primary comes back as
a standby. Sessions to a member end when it stops; no commit that was
acknowledged is lost.

The primary keeps its place, and writes wait for its restart, with --in-place,
for one member, and where no standby can take over: pgapp ops ID then says why.
Until the new primary is recorded, "pgapp ops ID --cancel" takes the way back.`
	cmd.Example = `  pgapp restart
  pgapp restart --in-place
  pgapp restart node1`
	inPlace := cmd.Flags().Bool("in-place", false, "restart the primary too where it is, instead of moving it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && *inPlace {
			return appliance.NewProblem(appliance.ErrUsage, "--in-place is for the whole cluster, not for one member").WithHint("see '%s --help'", cmd.CommandPath())
		}
		return a.submit(cmd.Context(), appliance.OpRestart, appliance.OperationParams{Member: first(args), InPlace: *inPlace})
	}
	return cmd
}

func (a memberCommands) reinitCommand() *cobra.Command {
	return a.forcedCommand("reinit MEMBER", "Clone a standby anew", appliance.OpReinit, true)
}

func (a memberCommands) operationCommand(use, short string, kind appliance.OperationKind, needsMember bool) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: memberArg(needsMember), ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.submit(cmd.Context(), kind, appliance.OperationParams{Member: first(args)})
		},
	}
}

// forcedCommand is operationCommand for an operation that may end the promise of
// durability quorum.
func (a memberCommands) forcedCommand(use, short string, kind appliance.OperationKind, needsMember bool) *cobra.Command {
	cmd := a.operationCommand(use, short, kind, needsMember)
	force := cmd.Flags().Bool("force", false, forceHelp)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		member := first(args)
		if *force && member == "" {
			return appliance.NewProblem(appliance.ErrUsage, "--force needs a member's name").WithHint("see '%s --help'", cmd.CommandPath())
		}
		return a.submit(cmd.Context(), kind, appliance.OperationParams{Member: member, Force: *force})
	}
	return cmd
}

const forceHelp = "durability quorum: also the last standby that commits wait for, which ends the promise"

// submit starts an operation, follows it, and shows the cluster afterwards.
func (a memberCommands) submit(ctx context.Context, kind appliance.OperationKind, p appliance.OperationParams) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	o, err := c.Submit(ctx, a.cluster, kind, p)
	if err != nil {
		return err
	}
	o, err = a.follow(ctx, c, o)
	a.dropped(o)
	if err != nil {
		return err
	}
	if kind == appliance.OpDestroy {
		a.note("cluster %q is removed", a.cluster)
		return nil
	}
	s, err := c.Status(ctx, a.cluster)
	if err != nil {
		return err
	}
	return a.print(s, func() error { return a.memberTable(s) })
}

func (a memberCommands) downCommand() *cobra.Command {
	var volumes, yes bool
	var tag string
	cmd := &cobra.Command{
		Use: "down", Short: "Stop the cluster; with --volumes remove every trace",
		Long: `Stop the cluster and keep its data. With --volumes the data, the machines and the
record of the cluster are removed as well: this asks first, or needs --yes.

With --by-tag the virtual machines, disks and address reservations are removed
that carry a cluster's UUID, for a cluster whose home is lost. Without the home
nothing is known of a primary on the host, which this leaves alone.`,
		Example: `  pgapp down
  pgapp down --volumes --yes
  pgapp down --by-tag 6f1c2f0e-8f0e-4d55-9a53-0f6a7f1a2b3c --volumes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tag != "" {
				return a.downByTag(cmd.Context(), tag, volumes, yes)
			}
			if !volumes {
				return a.submit(cmd.Context(), appliance.OpStop, appliance.OperationParams{})
			}
			if err := a.confirm(yes, fmt.Sprintf("Remove cluster %q with all its data?", a.cluster)); err != nil {
				return err
			}
			return a.submit(cmd.Context(), appliance.OpDestroy, appliance.OperationParams{})
		},
	}
	cmd.Flags().BoolVar(&volumes, "volumes", false, "remove the data too")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	cmd.Flags().StringVar(&tag, "by-tag", "", "libvirt: remove the machines and disks of the cluster with this UUID, whose home is lost")
	return cmd
}

// downByTag removes the machines and disks of a cluster that no home has on
// record.
func (a memberCommands) downByTag(ctx context.Context, tag string, volumes, yes bool) error {
	id, err := uuid.Parse(tag)
	if err != nil || len(tag) != len(id.String()) {
		return appliance.NewProblem(appliance.ErrUsage, "--by-tag takes the UUID of a cluster, not %q", tag).
			WithHint("the machines' metadata have it: virsh dumpxml DOMAIN")
	}
	if !volumes {
		return appliance.NewProblem(appliance.ErrUsage, "--by-tag removes machines with their data, and needs --volumes")
	}
	if err := a.confirm(yes, fmt.Sprintf("Remove all machines and disks of the cluster with UUID %s?", id)); err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	if err := c.DestroyByTag(ctx, id.String(), func(p appliance.Progress) { a.note("%s", clean(p.Detail)) }); err != nil {
		return err
	}
	a.note("no machine or disk is tagged %s any more", id)
	return nil
}
