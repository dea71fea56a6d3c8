package cli

import (
	"github.com/spf13/cobra"

	"pgapp/appliance/program"
)

// stateCheckFile is the command that checks a file of the state for the daemon, in
// a process of its own: a damaged file can crash the process.
func (a stateCommands) stateCheckFile() *cobra.Command {
	return &cobra.Command{
		Use: program.CheckFileCommand + " FILE", Short: "Check a database that nobody uses", Hidden: true, Args: fileArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := a.local.CheckStateFile(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(out, func() error { return a.reportTable(out) })
		},
	}
}
