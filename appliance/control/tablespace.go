package control

import (
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// tellTablespaces says of a standby that it shares the primary's tablespaces,
// and of a stopped one why it doesn't start.
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

func missingDetail(m appliance.Member, missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	return "its machine has no directory for a tablespace of the primary (" + strings.Join(missing, ", ") + "): pgapp start " + m.Name + " makes it"
}
