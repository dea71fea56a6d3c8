package control

import (
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/observe"
)

// tellAhead marks a standby that holds WAL that its primary has lost, as after
// the primary's disk was put back.
func tellAhead(s *appliance.MemberStatus, standby, primary observe.Look) {
	if s.Role != appliance.RoleStandby || !observe.Ahead(standby, primary) {
		return
	}
	s.State = appliance.StateFailed
	s.Detail = fmt.Sprintf("it is ahead of the primary: it has replayed %s, and the primary has only %s",
		standby.Server.Value().LSN, primary.Server.Value().LSN)
}
