package control

import (
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// anyAhead tells whether a standby has more than its primary had.
func anyAhead(looks []look, primary int) bool {
	for i, l := range looks {
		if i != primary && aheadOf(l, looks[primary]) {
			return true
		}
	}
	return false
}

func aheadOf(standby, primary look) bool {
	return standby.err == nil && primary.err == nil && standby.seen.InRecovery && !primary.seen.InRecovery &&
		postgres.LSNAfter(standby.seen.LSN, primary.seen.LSN)
}

// tellAhead marks a standby that holds WAL that its primary has lost, as after
// the primary's disk was put back.
func tellAhead(s *appliance.MemberStatus, standby, primary look) {
	if s.Role != appliance.RoleStandby || !aheadOf(standby, primary) {
		return
	}
	s.State = appliance.StateFailed
	s.Detail = fmt.Sprintf("it is ahead of the primary: it has replayed %s, and the primary has only %s", standby.seen.LSN, primary.seen.LSN)
}
