package local

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"pgapp/appliance"
)

// The addresses are 127.0.BLOCK.HOST: one block for each cluster, and the same
// last octets as virtual machines.
const (
	firstBlock   = 122
	lastBlock    = 250
	primaryOctet = 1
	firstOctet   = 101
	lastOctet    = 254
	maxPort      = 65535
)

// Allocate chooses a block of loopback addresses that no other cluster has, an
// address in the block for each member, and for all members the first port from
// 5432 up on which nothing on this machine listens, and which no other process has chosen.
// New members of an existing cluster get the cluster's block and port. Allocate changes
// nothing, but for some minutes no other process chooses the same.
func (p *Provider) Allocate(ctx context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
	return allocate(ctx, r, p.block, p.taken)
}

// taken claims the address, or reports that it can't be had.
func (p *Provider) taken(ctx context.Context, a netip.AddrPort) bool {
	if !p.claims.take(ctx, a) {
		return true
	}
	if listens(ctx, a) {
		p.claims.drop(a)
		return true
	}
	return false
}

// listens reports whether a server can't bind the address. Only binding finds
// every conflict, such as a listener on all addresses.
func listens(ctx context.Context, a netip.AddrPort) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.String())
	if err != nil {
		return true
	}
	_ = l.Close()
	return false
}

type takenFunc func(ctx context.Context, a netip.AddrPort) bool

func allocate(ctx context.Context, r appliance.AllocateRequest, first byte, busy takenFunc) ([]appliance.Member, error) {
	a := allocation{r: r, busy: busy, used: map[netip.AddrPort]bool{}, hosts: map[netip.Addr]bool{}}
	for _, m := range append(append([]appliance.Member(nil), r.Others...), r.Existing...) {
		if ap, ok := addrPort(m); ok {
			a.used[ap] = true
		}
	}
	for _, m := range r.Existing {
		if ap, ok := addrPort(m); ok {
			a.hosts[ap.Addr()] = true
		}
	}
	block, port := a.block(first)
	hosts, err := a.addresses(block)
	if err != nil {
		return nil, err
	}
	ports, err := a.ports(ctx, hosts, port)
	if err != nil {
		return nil, err
	}
	out := make([]appliance.Member, len(r.Names))
	for i, name := range r.Names {
		out[i] = appliance.Member{
			Name: name, Placement: appliance.PlacementLocal, Host: hosts[i].String(), Port: ports[i],
			Slot: appliance.SlotName(name),
		}
	}
	return out, nil
}

type allocation struct {
	r    appliance.AllocateRequest
	busy takenFunc
	// used are the addresses and ports of all members, stopped ones included.
	used map[netip.AddrPort]bool
	// hosts are the addresses of this cluster.
	hosts map[netip.Addr]bool
}

func addrPort(m appliance.Member) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(m.Host)
	if err != nil || m.Port < 1 || m.Port > maxPort {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, uint16(m.Port)), true
}

func blockOf(m appliance.Member) (byte, bool) {
	a, err := netip.ParseAddr(m.Host)
	if err != nil || !a.Is4() || !strings.HasPrefix(m.Host, "127.0.") {
		return 0, false
	}
	return a.As4()[2], true
}

// block chooses the cluster's block and preferred port. If every block is
// taken, the cluster shares the first block and differs by its port.
func (a allocation) block(first byte) (block byte, port int) {
	for _, m := range a.r.Existing {
		if b, ok := blockOf(m); ok {
			return b, m.Port
		}
	}
	taken := map[byte]bool{}
	for _, m := range a.r.Others {
		if b, ok := blockOf(m); ok {
			taken[b] = true
		}
	}
	for b := first; b <= lastBlock; b++ {
		if !taken[b] {
			return b, appliance.DefaultPort
		}
	}
	return first, appliance.DefaultPort
}

// addresses gives nodeN the octet .100+N, the first member of a new cluster .1,
// and any other name the first free octet.
func (a allocation) addresses(block byte) ([]netip.Addr, error) {
	at := func(octet int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, block, byte(octet)}) }
	taken := map[netip.Addr]bool{}
	for h := range a.hosts {
		taken[h] = true
	}
	out := make([]netip.Addr, len(a.r.Names))
	take := func(i, octet int) {
		if addr := at(octet); octet != 0 && !taken[addr] {
			taken[addr], out[i] = true, addr
		}
	}
	for i, name := range a.r.Names {
		take(i, wantedOctet(name, i == 0 && len(a.r.Existing) == 0))
	}
	next := firstOctet
	for i, name := range a.r.Names {
		for !out[i].IsValid() {
			if next > lastOctet {
				return nil, appliance.NewProblem(appliance.ErrHostAddressTaken, "no address left for member %s in 127.0.%d.0/24", name, block)
			}
			take(i, next)
			next++
		}
	}
	return out, nil
}

// wantedOctet returns 0 if the name prescribes no octet.
func wantedOctet(name string, first bool) int {
	if first {
		return primaryOctet
	}
	switch n := appliance.MemberNumber(name); {
	case n == 0:
		return primaryOctet
	case n > 0 && firstOctet-1+n <= lastOctet:
		return firstOctet - 1 + n
	}
	return 0
}

// ports chooses the members' ports, if possible one port for the whole cluster.
func (a allocation) ports(ctx context.Context, hosts []netip.Addr, preferred int) ([]int, error) {
	out := make([]int, len(hosts))
	if len(a.r.Existing) > 0 {
		for i, h := range hosts {
			port, err := a.freePort(ctx, []netip.Addr{h}, preferred)
			if err != nil {
				return nil, err
			}
			out[i] = port
		}
		return out, nil
	}
	port, err := a.freePort(ctx, hosts, preferred)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i] = port
	}
	return out, nil
}

// freePort returns preferred if it is free at all addresses, else the first such
// port from 5433 up.
func (a allocation) freePort(ctx context.Context, hosts []netip.Addr, preferred int) (int, error) {
	free := func(port int) bool {
		for _, h := range hosts {
			ap := netip.AddrPortFrom(h, uint16(port))
			if a.used[ap] || a.busy(ctx, ap) {
				return false
			}
		}
		return true
	}
	if free(preferred) {
		return preferred, nil
	}
	for port := appliance.DefaultPort + 1; port <= maxPort; port++ {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		if free(port) {
			return port, nil
		}
	}
	return 0, appliance.NewProblem(appliance.ErrHostPortTaken, "no port from %d up is free at %v", appliance.DefaultPort, hosts).
		WithHint("stop what listens there: ss -ltnp")
}
