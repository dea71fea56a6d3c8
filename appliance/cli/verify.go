package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

func (a lookCommands) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Prove that the cluster replicates",
		Long: `Prove what the cluster claims: every standby streams through its slot, has the
primary's identifier and timeline, receives a row written now, refuses writes,
and holds the same rows, and the application's login reads on every member.
While the primary is being written, a table is compared by the rows of one
snapshot. The exit code is 3 where a check fails, or where what it proves
couldn't be proven; a standby that the spec delays (recovery_min_apply_delay)
is not held against the cluster.`,
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

func (a lookCommands) verifyTables(v appliance.VerifyReport) error {
	rows := newTable("application_name", "client_addr", "state", "sync_state", "sent_lsn", "replay_lsn")
	for _, r := range v.Replication {
		rows.AppendRow([]any{r.ApplicationName, r.ClientAddr, r.State, r.SyncState, r.SentLSN, r.ReplayLSN})
	}
	if err := a.renderTable(rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.Out); err != nil {
		return err
	}
	checks := newTable("check", "member", "", "detail")
	failed, skipped := 0, 0
	for _, c := range v.Checks {
		mark := a.paint("32", "ok")
		switch {
		case c.Skipped:
			mark = "skipped"
			skipped++
		case !c.OK:
			mark = a.paint("31", "FAILED")
			failed++
		}
		checks.AppendRow([]any{c.Name, c.Member, mark, clean(c.Detail)})
	}
	if err := a.renderTable(checks); err != nil {
		return err
	}
	a.note("\n%s", verifySummary(v, failed, skipped))
	return nil
}

// verifySummary is the report in one line. A skipped check is no pass; where the
// report is ok all the same, the user's configuration has ruled it out.
func verifySummary(v appliance.VerifyReport, failed, skipped int) string {
	all := len(v.Checks)
	switch {
	case v.OK && skipped > 0:
		return fmt.Sprintf("%d checks passed, %d skipped because of the configuration", all-skipped, skipped)
	case v.OK:
		return fmt.Sprintf("all %d checks passed", all)
	case failed > 0 && skipped > 0:
		return fmt.Sprintf("%d of %d checks failed, and %d could not be made", failed, all, skipped)
	case failed > 0:
		return fmt.Sprintf("%d of %d checks failed", failed, all)
	}
	return fmt.Sprintf("%d of %d checks are not proven", skipped, all)
}
