package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
)

// Lead is where one endpoint leads.
type Lead struct {
	At netip.AddrPort
	// To are the members that take new connections. Without any they are refused.
	To []netip.AddrPort
	// May are the members that connections may lead to; others are cut.
	May []netip.AddrPort
	// Former is a primary that has just ceased to be one, if any: connections to it are
	// cut, though it may be a standby now.
	Former netip.AddrPort
}

// leadsOf returns what the change from the routes was to the routes is means, for each
// endpoint that the kernel leads.
func leadsOf(was, is []appliance.Route) ([]Lead, error) {
	var out []Lead
	for _, route := range is {
		if !route.Kernel {
			continue
		}
		primary, err := membersOf(route.Primary)
		if err != nil {
			return nil, err
		}
		writes, reads := endpoint.Leads(route)
		rw, ro := Lead{May: primary}, Lead{Former: former(was, route)}
		if route.ROPrimary != appliance.ROPrimaryNever {
			ro.May = slices.Clone(primary)
		}
		for _, s := range route.Standbys {
			at, err := addressOf(s.Address)
			if err != nil {
				return nil, err
			}
			ro.May = append(ro.May, at)
		}
		for _, e := range []struct {
			Lead
			at string
			to []appliance.RouteMember
		}{{rw, route.RW, writes}, {ro, route.RO, reads}} {
			if e.at == "" {
				continue
			}
			if e.At, err = addressOf(e.at); err != nil {
				return nil, err
			}
			for _, m := range e.to {
				to, err := addressOf(m.Address)
				if err != nil {
					return nil, err
				}
				e.To = append(e.To, to)
			}
			out = append(out, e.Lead)
		}
	}
	return out, nil
}

// former returns the primary that the route no longer has, zero if there is none.
func former(was []appliance.Route, is appliance.Route) netip.AddrPort {
	i := slices.IndexFunc(was, func(r appliance.Route) bool { return r.Cluster == is.Cluster })
	if i < 0 || was[i].Primary == nil || is.Primary != nil && *is.Primary == *was[i].Primary {
		return netip.AddrPort{}
	}
	at, _ := addressOf(was[i].Primary.Address)
	return at
}

func membersOf(m *appliance.RouteMember) ([]netip.AddrPort, error) {
	if m == nil {
		return nil, nil
	}
	at, err := addressOf(m.Address)
	return []netip.AddrPort{at}, err
}

func addressOf(s string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(s)
	if err == nil && !at.Addr().Is4() {
		err = fmt.Errorf("it is not of IPv4")
	}
	if err != nil {
		return at, fmt.Errorf("the address %q: %w", s, err)
	}
	return at, nil
}

// frame makes the table, as far as it is not there, and empties it. All of a script is one
// transaction, so nobody sees it empty.
//
// The chain translate sees the first packet of a connection, and chooses the member. One
// that is not a SYN belongs to a connection of the endpoint process that began before the
// kernel tracked any. The chain guard sees all packets of clients: those to a member that
// the endpoint may no longer lead to, and a SYN that was not translated, are answered with
// a reset. What else comes untranslated is the endpoint process's.
const frame = `add table ip TABLE
add set ip TABLE endpoints { type ipv4_addr . inet_service; }
add map ip TABLE leads { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
add set ip TABLE members { type ipv4_addr . inet_service . ipv4_addr . inet_service; }
add chain ip TABLE translate { type nat hook output priority -100; }
add chain ip TABLE guard { type filter hook output priority 0; }
flush chain ip TABLE translate
flush chain ip TABLE guard
flush set ip TABLE endpoints
flush map ip TABLE leads
flush set ip TABLE members
add rule ip TABLE translate tcp flags & (fin | syn | rst | ack) != syn accept
add rule ip TABLE translate dnat to ip daddr . tcp dport map @leads
add rule ip TABLE guard meta l4proto != tcp accept
add rule ip TABLE guard ct direction != original accept
add rule ip TABLE guard meta l4proto tcp ct original ip daddr . ct original proto-dst != @endpoints accept
add rule ip TABLE guard meta l4proto tcp ct original ip daddr . ct original proto-dst . ip daddr . tcp dport @members accept
add rule ip TABLE guard tcp flags & rst == rst accept
add rule ip TABLE guard ip daddr . tcp dport @endpoints tcp flags & (syn | ack) != syn accept
add rule ip TABLE guard reject with tcp reset
`

// script is the transaction that makes the table lead so.
func script(table string, leads []Lead) string {
	var b strings.Builder
	b.WriteString(frame)
	for _, l := range leads {
		at := element(l.At)
		fmt.Fprintf(&b, "add element ip TABLE endpoints { %s }\n", at)
		for _, m := range distinct(l.May) {
			fmt.Fprintf(&b, "add element ip TABLE members { %s . %s }\n", at, element(m))
		}
		switch to := distinct(l.To); len(to) {
		case 0:
		case 1:
			fmt.Fprintf(&b, "add element ip TABLE leads { %s : %s }\n", at, element(to[0]))
		default:
			var choice []string
			for i, m := range to {
				choice = append(choice, fmt.Sprintf("%d : %s", i, element(m)))
			}
			fmt.Fprintf(&b, "add rule ip TABLE translate ip daddr %s tcp dport %d dnat to numgen random mod %d map { %s }\n",
				l.At.Addr(), l.At.Port(), len(to), strings.Join(choice, ", "))
		}
	}
	return strings.ReplaceAll(b.String(), "TABLE", table)
}

// distinct returns the addresses in their order, each once.
func distinct(all []netip.AddrPort) []netip.AddrPort {
	out := slices.Clone(all)
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

func element(a netip.AddrPort) string { return fmt.Sprintf("%s . %d", a.Addr(), a.Port()) }
