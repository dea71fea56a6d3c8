package cli

import "github.com/spf13/cobra"

// benchCommands measure a cluster under the load of the movie-rental site.
type benchCommands struct{ drillCommands }

func (a benchCommands) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure the cluster under the load of a movie-rental site",
		Long: `Measure how the cluster carries a high-traffic web application, the movie-rental
site that pgapp demo shows.

The load works in a copy of the cluster's Pagila, in a database of its own,
pgapp_bench, which is removed in the end; what a killed bench leaves the next one
removes.

A suite changes the cluster and puts it back in the end. Where it was killed, a
process that it has started does; where that was killed too, the next bench command.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: a.prepareBench,
	}
	cmd.AddCommand(a.benchRunCommand(), a.benchSuiteCommand(), a.benchReport(), a.benchCompare(), a.benchLsCommand(), a.benchShowCommand(), a.benchCancelCommand(), a.benchRmCommand(), a.benchGuardCommand())
	return cmd
}
