package endpoint

import (
	"cmp"
	"slices"

	"pgapp/appliance"
)

// role tells an endpoint for writes from one for reads.
type role string

const (
	rw role = "rw"
	ro role = "ro"
)

// load is what is known of a member on one endpoint.
type load struct {
	// conns counts the connections that lead to the member or are being opened to it.
	conns int
	// turn is the number of the choice that took the member last.
	turn uint64
}

// newTargets lists the members that take a new connection of the endpoint, best first.
// Members with fewer connections come first, then those that were chosen longer ago.
func newTargets(r role, route appliance.Route, loads map[appliance.RouteMember]load) []appliance.RouteMember {
	primary := route.Primary
	if route.Closed {
		primary = nil
	}
	if r == rw {
		if primary == nil {
			return nil
		}
		return []appliance.RouteMember{*primary}
	}
	var out []appliance.RouteMember
	for _, s := range route.Standbys {
		if s.New && !s.Drain && (route.Primary == nil || s.RouteMember != *route.Primary) {
			out = append(out, s.RouteMember)
		}
	}
	if primary != nil && route.ROPrimary == appliance.ROPrimaryAlways {
		out = append(out, *primary)
	}
	slices.SortStableFunc(out, func(a, b appliance.RouteMember) int {
		return cmp.Or(cmp.Compare(loads[a].conns, loads[b].conns), cmp.Compare(loads[a].turn, loads[b].turn))
	})
	if primary != nil && route.ROPrimary == appliance.ROPrimaryLast {
		out = append(out, *primary)
	}
	return out
}

// usualTargets lists the members that take a new connection unless all of them fail.
func usualTargets(r role, route appliance.Route, loads map[appliance.RouteMember]load) []appliance.RouteMember {
	all := newTargets(r, route, loads)
	if r == ro && route.ROPrimary == appliance.ROPrimaryLast && len(all) > 1 && route.Primary != nil && all[len(all)-1] == *route.Primary {
		return all[:len(all)-1]
	}
	return all
}

// choose returns the best member that takes a new connection and has not been tried.
func choose(targets []appliance.RouteMember, tried map[appliance.RouteMember]bool) (m appliance.RouteMember, ok bool) {
	for _, m := range targets {
		if !tried[m] {
			return m, true
		}
	}
	return appliance.RouteMember{}, false
}

// fate is what a new state means for a connection.
type fate int

const (
	keep fate = iota
	// drain lets the connection end by itself for drainTime.
	drain
	cut
)

// fateOf tells what the change from the state was to the state is means for a
// connection of the endpoint that is open to the member.
func fateOf(r role, was, is appliance.Route, m appliance.RouteMember) fate {
	isPrimary := is.Primary != nil && *is.Primary == m
	if isPrimary && (r == rw || is.ROPrimary != appliance.ROPrimaryNever) {
		return keep
	}
	// A former primary may still have sessions that write.
	if r == rw || !isPrimary && was.Primary != nil && *was.Primary == m {
		return cut
	}
	for _, s := range is.Standbys {
		if s.RouteMember == m && !s.Drain {
			return keep
		}
	}
	return drain
}

// cancelTargets lists the members that may have the session that a cancel request
// means. busy are the members with open connections.
func cancelTargets(r role, route appliance.Route, busy []appliance.RouteMember) []appliance.RouteMember {
	out := slices.Clone(busy)
	if route.Primary != nil && (r == rw || route.ROPrimary != appliance.ROPrimaryNever) {
		out = append(out, *route.Primary)
	}
	if r == ro {
		for _, s := range route.Standbys {
			out = append(out, s.RouteMember)
		}
	}
	slices.SortFunc(out, func(a, b appliance.RouteMember) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address))
	})
	return slices.Compact(out)
}

// Leads lists the members that take new connections for writes and for reads, best first.
// A primary that takes reads only if no standby does is left out where one does.
func Leads(route appliance.Route) (writes, reads []appliance.RouteMember) {
	return usualTargets(rw, route, nil), usualTargets(ro, route, nil)
}
