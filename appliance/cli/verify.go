package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Prove that the cluster replicates",
		Long: `Prove what the cluster claims: every standby streams through its slot, has the
primary's identifier and timeline, receives a row written now, refuses writes,
and holds the same rows. The exit code is 3 where a check fails.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			v, err := c.Verify(cmd.Context(), a.cluster)
			if err != nil {
				return err
			}
			if !v.OK {
				a.exit = appliance.ExitDegraded
			}
			return a.print(v, func() error { return a.verifyTables(v) })
		},
	}
}

func (a *app) verifyTables(v appliance.VerifyReport) error {
	rows := a.newTable("application_name", "client_addr", "state", "sync_state", "sent_lsn", "replay_lsn")
	for _, r := range v.Replication {
		rows.AppendRow([]any{r.ApplicationName, r.ClientAddr, r.State, r.SyncState, r.SentLSN, r.ReplayLSN})
	}
	if err := a.renderTable(rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.Out); err != nil {
		return err
	}
	checks := a.newTable("check", "member", "", "detail")
	failed := 0
	for _, c := range v.Checks {
		mark := a.paint("32", "ok")
		switch {
		case c.Skipped:
			mark = "skipped"
		case !c.OK:
			mark = a.paint("31", "FAILED")
			failed++
		}
		checks.AppendRow([]any{c.Name, c.Member, mark, clean(c.Detail)})
	}
	if err := a.renderTable(checks); err != nil {
		return err
	}
	if failed > 0 {
		a.note("\n%d of %d checks failed", failed, len(v.Checks))
		return nil
	}
	a.note("\nall %d checks passed", len(v.Checks))
	return nil
}
