package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/wait"
)

func (a stateCommands) stateRestore() *cobra.Command {
	var keys keyFlags
	var adopt, yes bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Replace the state with a backup",
		Long: `Replace pgapp's state with a backup. Everything is checked before anything
changes, and the replaced state is kept beside the new one. PostgreSQL's data are
not touched: afterwards pgapp only observes the clusters until 'pgapp adopt' has
looked at what really runs. It works when the state is damaged or gone.`,
		Args: fileArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			var req api.RestoreRequest
			var err error
			req.Adopt = adopt
			if req.Passphrase, req.Identities, err = keys.read(); err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return appliance.NewProblem(appliance.ErrUsage, "opening the backup: %w", err)
			}
			defer func() { _ = f.Close() }()
			if err := a.confirm(yes, fmt.Sprintf("Replace the state in %s by %s?", a.home, args[0])); err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := c.Restore(cmd.Context(), f, req)
			if err != nil {
				return err
			}
			if err := awaitDaemon(cmd.Context(), c); err != nil {
				return err
			}
			return a.print(r, func() error { return a.restored(r) })
		},
	}
	keys.add(cmd)
	cmd.Flags().BoolVar(&adopt, "adopt", false, "accept the state of another instance too")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

func (a stateCommands) restored(r api.RestoreResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "restored the state of %s\n", r.CreatedAt.Local().Format(time.DateTime))
	if r.Kept != "" {
		fmt.Fprintf(&b, "the replaced one is %s\n", r.Kept)
	}
	for _, name := range r.Clusters {
		fmt.Fprintf(&b, "cluster %s is only observed: pgapp adopt --cluster %s takes it over\n", name, name)
	}
	_, err := fmt.Fprint(a.Out, b.String())
	return err
}

// awaitDaemon waits until the daemon answers again after a change of its state. One that was
// killed meanwhile is started, as it is for every other command.
func awaitDaemon(ctx context.Context, c *api.Client) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	var absent error
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		_, err := c.Info(ctx)
		switch {
		case appliance.IsProblem(err, appliance.ErrDaemonUnreachable):
			absent = err
			return false, c.OnLost(ctx)
		case appliance.IsProblem(err, appliance.ErrDaemonRecovery):
			absent = err
			return false, nil
		}
		return true, err
	})
	if err != nil && absent != nil && ctx.Err() != nil {
		return appliance.NewProblem(appliance.ErrTimeout, "the daemon has not started again: %w", absent)
	}
	return err
}

func (a stateCommands) stateVerify() *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Open a backup and check all of it; nothing is changed", Args: fileArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			passphrase, identities, err := keys.read()
			if err != nil {
				return err
			}
			m, err := a.local.VerifyStateBackup(cmd.Context(), a.home, args[0], passphrase, identities)
			if err != nil {
				return err
			}
			return a.print(m, func() error {
				_, err := fmt.Fprintf(a.Out, "the backup is sound: made %s by pgapp %s, schema %d, instance %s, %d clusters\n",
					m.CreatedAt.Local().Format(time.DateTime), m.PgappVersion, m.SchemaVersion, m.Instance, len(m.Epochs))
				return err
			})
		},
	}
	keys.add(cmd)
	return cmd
}

func (a stateCommands) adoptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "adopt", Short: "Take over what runs, after a restore of the state",
		Long: `Look at what really runs of the cluster and make the record say so: the one
member that accepts writes, of a timeline that descends from the recorded one,
is its primary. Nothing is started or stopped. What is ambiguous is shown and
left to you.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := c.Adopt(cmd.Context(), a.cluster)
			if err != nil {
				return err
			}
			return a.print(r, func() error {
				for _, n := range r.Notes {
					a.note("%s", clean(n))
				}
				_, err := fmt.Fprintf(a.Out, "cluster %s is adopted: primary %s, timeline %d, epoch %d\n", r.Cluster, r.Primary, r.Timeline, r.Epoch)
				return err
			})
		},
	}
}
