package cli

import (
	"github.com/spf13/cobra"

	"pgapp/appliance/program"
)

// stateCheckFile is the process in which the daemon has a file of a state
// checked: a damaged one can crash it.
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
