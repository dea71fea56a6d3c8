package routing

import (
	"net"
	"strconv"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// Look is what was last seen of one member.
type Look struct {
	// Answers is set where the server answered in a session. Without an answer the
	// fields below but Gone say nothing.
	Answers bool
	// Primary is set where the server is not in recovery.
	Primary bool
	// Gone is set where the server takes no connection: it has ended, or it starts.
	Gone bool
	// Receiving is set while a standby's receiver runs.
	Receiving bool
	// Position is what a primary has flushed, or a standby has replayed.
	Position appliance.LSN
}

// LookOf returns what the watch has seen of a member.
func LookOf(s ha.Sighting) Look {
	l := Look{
		Answers: s.Session == ha.Answers && s.Standing.Answered, Primary: s.Standing.Primary,
		Gone:      s.Sign.Vital == appliance.VitalGone || s.Fresh == ha.Refuses || s.Fresh == ha.Starts,
		Receiving: !s.Standing.Detached, Position: s.Standing.Replayed,
	}
	if l.Primary {
		l.Position = s.Standing.Received
	}
	return l
}

// Facts are what a route depends on besides the record.
type Facts struct {
	// Looks are by the member's name. One that is missing is not known.
	Looks map[string]Look
	// Verified is set where the recorded primary was seen to take the application's
	// writes, and nothing else was seen of it since.
	Verified bool
	// Cut is set where the primary is about to be ended in its place.
	Cut bool
	// Serving are the standbys that took new connections so far.
	Serving map[string]bool
}

// Of returns where the cluster's endpoints lead, or false if it has none.
func Of(c appliance.Cluster, f Facts) (appliance.Route, bool) {
	if !c.Spec.HasEndpoints() || c.Endpoints == nil || c.Phase == appliance.PhaseRemoving {
		return appliance.Route{}, false
	}
	e := c.Spec.EndpointSpec.WithDefaults()
	r := appliance.Route{
		Cluster: c.Name, Kernel: e.Endpoint == appliance.EndpointKernel,
		Wait: e.RouteWait(), ROPrimary: e.ROPrimary, MaxConnections: appliance.DefaultMaxConnections,
	}
	r.RW, r.RO = c.EndpointAddresses()
	if c.WantStopped || c.PrimaryMember().WantStopped {
		r.Wait = 0
	}
	r.Primary, r.Closed = writes(c, f)
	for _, m := range c.Members {
		if m.Name == c.Primary {
			// It may have been promoted under connections for reads, which go on.
			r.Standbys = append(r.Standbys, appliance.RouteStandby{RouteMember: memberOf(m)})
			continue
		}
		r.Standbys = append(r.Standbys, appliance.RouteStandby{
			RouteMember: memberOf(m), New: reads(c, m, f), Drain: m.WantStopped || m.Return != "",
		})
	}
	return r, true
}

func memberOf(m appliance.Member) appliance.RouteMember {
	return appliance.RouteMember{Name: m.Name, Address: net.JoinHostPort(m.Host, strconv.Itoa(m.Port))}
}

// writes tells where rw leads, and whether new connections wait.
func writes(c appliance.Cluster, f Facts) (to *appliance.RouteMember, closed bool) {
	primary := memberOf(c.PrimaryMember())
	seen := f.Looks[c.Primary]
	switch {
	case c.Phase == appliance.PhaseCreating || c.Phase == appliance.PhaseFailed:
		return nil, true
	case f.Cut || seen.Answers && !seen.Primary:
		return nil, true
	case Changing(c):
		if c.Change.Phase != appliance.ChangeStopping {
			return nil, true
		}
		return &primary, true // its sessions end with its stop
	}
	return &primary, !f.Verified || c.WantStopped || c.PrimaryMember().WantStopped
}

// Changing tells whether a change of primary is under way that has changed something. One
// whose operation has ended without finishing it counts.
func Changing(c appliance.Cluster) bool {
	return c.Change != nil && !c.Change.Phase.Final() && c.Change.Phase != appliance.ChangeLooking
}

// reads tells whether ro leads new connections to the standby. While nobody can tell how
// far it is behind, as during a change of primary, one that took them goes on.
func reads(c appliance.Cluster, m appliance.Member, f Facts) bool {
	if m.WantStopped || m.Return != "" {
		return false
	}
	seen, ok := f.Looks[m.Name]
	if !ok {
		return f.Serving[m.Name]
	}
	if !seen.Answers || seen.Primary || seen.Gone {
		return false
	}
	primary := f.Looks[c.Primary]
	if Changing(c) || !primary.Answers || !primary.Primary {
		return f.Serving[m.Name]
	}
	return seen.Receiving && primary.Position <= seen.Position+c.Spec.ROLag()
}

// unsound tells whether the recorded primary was seen as something else than a primary
// that takes connections.
func unsound(c appliance.Cluster, looks map[string]Look) bool {
	seen := looks[c.Primary]
	return seen.Gone || seen.Answers && !seen.Primary
}
