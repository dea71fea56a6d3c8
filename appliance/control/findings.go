package control

import (
	"fmt"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

// tellAhead marks a standby that has WAL which the primary has lost, as after the
// primary's disk was restored to an earlier state.
func tellAhead(s *appliance.MemberStatus, standby, primary observe.Look) {
	if s.Role != appliance.RoleStandby || !observe.Ahead(standby, primary) {
		return
	}
	s.State = appliance.StateFailed
	s.Detail = fmt.Sprintf("it is ahead of the primary: it has replayed %s, and the primary has only %s",
		standby.Server.Value().LSN, primary.Server.Value().LSN)
}

// tellTablespaces says that a standby shares the primary's tablespaces, or that a
// stopped one can't start because of them.
func tellTablespaces(s *appliance.MemberStatus, found []string) {
	if s.Role != appliance.RoleStandby || len(found) == 0 {
		return
	}
	if s.State == appliance.StateStopped {
		s.Detail = string(appliance.ErrTablespace) + ": it can't start beside the primary's tablespaces"
		return
	}
	s.State, s.Detail = appliance.StateFailed, postgres.TablespaceDetail(found)
}

// missingDetail says which directories ended the standby's replay, "" if none did.
func missingDetail(m appliance.Member, missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	return "its machine has no directory for a tablespace of the primary (" + strings.Join(missing, ", ") + "): pgapp start " + m.Name + " makes it"
}
