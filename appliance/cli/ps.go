package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"pgapp/appliance"
)

// lookCommands look at a cluster, its operations and its logs.
type lookCommands struct{ *app }

func (a lookCommands) psCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "ps", Aliases: []string{"list", "status"}, Short: "Show the members and how far each standby is",
		Long: `Show the members as they are now, what durability quorum promises now, and a change
of primary that is not finished. A fenced member has been ended by a change of
primary: pgapp rejoin brings it back. Where pgapp does not act by itself, as in a
pause, ps says what it would do and why it doesn't. The exit code is 3 where the
cluster is degraded or failed.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if all {
				list, err := c.Clusters(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(list, func() error { return a.clusterTable(list) })
			}
			s, err := c.Status(cmd.Context(), a.cluster)
			if err != nil {
				return err
			}
			if s.Phase == appliance.PhaseDegraded || s.Phase == appliance.PhaseFailed {
				a.exit = appliance.ExitDegraded
			}
			return a.print(s, func() error {
				a.note("cluster %s (%s): %s, database %s, timeline %d", s.Name, s.Provider, s.Phase, s.Database, s.Timeline)
				if err := a.memberTable(s); err != nil {
					return err
				}
				if s.Promise != nil {
					a.note("promise: %s%s", s.Promise, weakness(s))
				}
				if err := a.endpointTable(s.Endpoints); err != nil {
					return err
				}
				a.automaticNotes(s)
				a.changeNotes(s)
				if s.Operation != "" {
					a.note("operation %s is under way: pgapp ops %s --follow", s.Operation, s.Operation)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all clusters of this home, a line each")
	return cmd
}

// weakness says what to do about a promise that is less than what is wanted.
func weakness(s appliance.ClusterStatus) string {
	if s.Promise.None() && s.Spec != nil && s.Spec.Degrades() && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool { return m.State == appliance.StateStreaming }) {
		return "; no standby streams, and commits don't wait for one: on-last-standby is degrade"
	}
	if s.Durability == appliance.DurabilityQuorum && s.Promise.None() && s.Phase == appliance.PhaseDegraded {
		return "; durability quorum is wanted: pgapp up settles it"
	}
	return ""
}

func (a *app) memberTable(s appliance.ClusterStatus) error {
	t := newTable("name", "role", "state", "address", "tl", "lsn", "lag", "")
	for _, m := range s.Members {
		lsn, lag := m.LSN, ""
		if m.Role == appliance.RoleStandby {
			lsn = m.ReplayLSN
		}
		if m.ReplayLagBytes != nil {
			lag = humanize.IBytes(uint64(max(*m.ReplayLagBytes, 0)))
		}
		tl := ""
		if m.Timeline != 0 {
			tl = strconv.FormatUint(uint64(m.Timeline), 10)
		}
		t.AppendRow([]any{m.Name, m.Role, m.State, fmt.Sprintf("%s:%d", m.Host, m.Port), tl, lsn, lag, clean(m.Detail)})
	}
	return a.renderTable(t)
}

// endpointTable shows where the endpoints lead.
func (a lookCommands) endpointTable(e *appliance.EndpointsStatus) error {
	if e == nil {
		return nil
	}
	if e.Problem != "" {
		a.note("endpoints: %s", clean(e.Problem))
	}
	if e.Writes == nil || e.Reads == nil {
		a.note("endpoints: rw %s, ro %s", e.RWAddress(), e.ROAddress())
		return nil
	}
	t := newTable("endpoint", "address", "leads to", "since", "open", "waiting", "cut", "")
	for _, one := range []struct {
		name string
		s    *appliance.EndpointStatus
	}{{"rw", e.Writes}, {"ro", e.Reads}} {
		nobody, note := "nobody: connections wait", ""
		if e.Kernel {
			nobody, note = "nobody: connections are refused", "by the kernel"
		}
		to := cmp.Or(strings.Join(one.s.To, ", "), nobody)
		t.AppendRow([]any{one.name, one.s.Address, to, humanize.Time(one.s.Since), one.s.Open, one.s.Waiting, one.s.Cut, cmp.Or(clean(one.s.Problem), note)})
	}
	return a.renderTable(t)
}

func (a lookCommands) clusterTable(list []appliance.ClusterStatus) error {
	t := newTable("cluster", "provider", "phase", "primary", "members", "database")
	for _, s := range list {
		t.AppendRow([]any{s.Name, s.Provider, s.Phase, s.Primary, len(s.Members), s.Database})
	}
	return a.renderTable(t)
}

// changeNotes says what is left of a change of primary, or what to do about a primary
// that doesn't run.
func (a lookCommands) changeNotes(s appliance.ClusterStatus) {
	ch := s.Change
	if ch == nil {
		a.primaryNote(s)
		return
	}
	text := fmt.Sprintf("%s of %s", ch.Kind, ch.From)
	if ch.To != "" {
		text += " to " + ch.To
	}
	a.note("%s, phase %s: %s", text, ch.Phase, clean(cmp.Or(ch.Detail, "not finished")))
	switch {
	case s.Operation == "":
		a.note("nothing works on it: pgapp failover goes on with it")
	case ch.Cancellable:
		a.note("pgapp ops %s --cancel takes the way back", ch.Operation)
	}
}

func (a lookCommands) primaryNote(s appliance.ClusterStatus) {
	if s.Operation != "" || s.Phase != appliance.PhaseDegraded {
		return
	}
	for _, m := range s.Members {
		switch {
		case m.Name != s.Primary || m.State != appliance.StateStopped && m.State != appliance.StateUnreachable:
		case s.Automatic == appliance.AutomaticOn && !withheld(s):
			a.note("the primary is %s: pgapp replaces it by itself, unless pgapp stop has ended it; pgapp start brings it back", m.State)
		default:
			a.note("the primary is %s: pgapp start brings it back, pgapp failover replaces it", m.State)
		}
	}
}

// withheld tells whether pgapp would replace the primary, but doesn't.
func withheld(s appliance.ClusterStatus) bool {
	return slices.ContainsFunc(s.Doubts, func(d appliance.Doubt) bool { return d.Member == s.Primary && d.Withheld != "" })
}
