package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// firstOffset is the offset of node1's address in the network.
	firstOffset = 101
	// aliveLimit is how long a living host may take to answer.
	aliveLimit = 700 * time.Millisecond
)

// Allocate chooses free addresses of the network: no member, reservation, lease
// or living host has them. A first address in the spec is used or refused;
// without one, taken addresses are skipped.
func (p *Provider) Allocate(ctx context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
	name := networkName(r.Spec)
	t := tag{UUID: r.UUID, Cluster: r.Cluster}
	n, _, err := p.networks.network(ctx, name, t)
	if err != nil {
		return nil, err
	}
	s, err := readSubnet(n.XML)
	if err != nil {
		return nil, err
	}
	a := p.newAllocation(r, n, s)
	if err := a.collect(ctx); err != nil {
		return nil, err
	}
	var out []appliance.Member
	var wanted []string
	for i, member := range r.Names {
		if i == 0 && len(r.Existing) == 0 && r.Spec.Primary != appliance.PrimaryVM {
			m, err := a.onHost(ctx, member)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
			continue
		}
		wanted = append(wanted, member)
	}
	vms, err := a.onMachines(ctx, wanted)
	return append(out, vms...), err
}

// allocation is one choice of addresses in a network.
type allocation struct {
	host     Network
	local    appliance.Provider
	networks *networks
	machines *machines

	r      appliance.AllocateRequest
	net    rpc.Network
	subnet subnet
	// taken maps a taken address to its owner.
	taken map[netip.Addr]string
	// ports are the host's ports that other members use.
	ports map[int]bool
}

func (a *allocation) take(address, by string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		a.taken[addr] = by
	}
}

// collect records the known addresses and ports, without probing the network.
func (a *allocation) collect(ctx context.Context) error {
	a.ports, a.taken = map[int]bool{}, map[netip.Addr]string{}
	a.taken[a.subnet.Host.Addr()] = "the host"
	own := map[string]bool{}
	for _, m := range append(append([]appliance.Member(nil), a.r.Existing...), a.r.Others...) {
		a.take(m.Host, "another member")
		if m.Host == a.subnet.Host.Addr().String() {
			a.ports[m.Port] = true
		}
	}
	for _, n := range a.r.Names {
		own[reservationName(tag{UUID: a.r.UUID, Cluster: a.r.Cluster, Member: n})] = true
	}
	for _, h := range reservations(a.net.XML) {
		if !own[h.Name] {
			a.take(h.IP, "the reservation of "+h.Name+" "+h.MAC)
		}
	}
	if !a.net.Active {
		return nil
	}
	leases, err := a.networks.leases(ctx, a.net.Name)
	if err != nil {
		return err
	}
	for _, l := range leases {
		a.take(l.Address, "the lease of "+l.Hostname+" "+l.MAC)
	}
	return nil
}

// onHost allocates the member that runs on the host, at the network's address
// of the host.
func (a *allocation) onHost(ctx context.Context, name string) (appliance.Member, error) {
	r := a.r
	r.Names = []string{name}
	ms, err := a.local.Allocate(ctx, r)
	if err != nil || len(ms) != 1 {
		return appliance.Member{}, errors.Join(err, fmt.Errorf("allocating %q on this machine", name))
	}
	m := ms[0]
	m.Host = a.subnet.Host.Addr().String()
	for m.Port = appliance.DefaultPort; ; m.Port++ {
		if m.Port > 65535 {
			return m, appliance.NewProblem(appliance.ErrHostPortTaken, "no port from %d up is free at %s", appliance.DefaultPort, m.Host)
		}
		if !a.ports[m.Port] && !a.host.Listens(ctx, net.JoinHostPort(m.Host, strconv.Itoa(m.Port))) {
			return m, nil
		}
	}
}

func (a *allocation) onMachines(ctx context.Context, names []string) ([]appliance.Member, error) {
	out := make([]appliance.Member, len(names))
	for i, n := range names {
		if err := a.machines.checkName(ctx, domainName(a.r.Cluster, n), a.r.UUID); err != nil {
			return nil, err
		}
		id := uuid.New()
		out[i] = appliance.Member{
			Name: n, Placement: appliance.PlacementVM, Port: appliance.DefaultPort, Slot: appliance.SlotName(n),
			UUID: id.String(), Domain: domainName(a.r.Cluster, n),
			ControlFrom: a.subnet.Host.Addr().String(),
			// QEMU's prefix; the rest is as random as the UUID.
			MAC: fmt.Sprintf("52:54:00:%02x:%02x:%02x", id[0], id[1], id[2]),
		}
	}
	return out, a.addresses(ctx, out)
}

// addresses fills in the members' addresses, and chooses again while living
// hosts answer at the chosen ones.
func (a *allocation) addresses(ctx context.Context, members []appliance.Member) error {
	first, strict, err := a.first()
	if err != nil {
		return err
	}
	for {
		chosen, err := a.choose(members, first, strict)
		if err != nil {
			return err
		}
		living := map[netip.Addr]bool{}
		if a.net.Active {
			living = aliveHosts(ctx, a.host, chosen)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("looking for living hosts: %w", ctx.Err())
		}
		for addr := range living {
			a.taken[addr] = "a living machine"
		}
		if len(living) == 0 {
			for i, addr := range chosen {
				members[i].Host = addr.String()
			}
			return nil
		}
	}
}

// first returns the offset of node1's address; strict is true if the spec names
// the address.
func (a *allocation) first() (offset int, strict bool, err error) {
	if a.r.Spec.FirstAddress == "" {
		return min(firstOffset, a.subnet.size()/2), false, nil
	}
	addr, err := netip.ParseAddr(a.r.Spec.FirstAddress)
	if err != nil || !a.subnet.contains(addr) {
		return 0, false, &appliance.Problem{
			ID: appliance.ErrInvalidSpec, Message: "the cluster's spec is not valid",
			Fields: []appliance.FieldError{{Field: "first_address", Message: fmt.Sprintf("has to be an address of network %s, %s", a.net.Name, a.subnet.Host.Masked())}},
		}
	}
	return a.subnet.offset(addr), true, nil
}

func (a *allocation) choose(members []appliance.Member, first int, strict bool) ([]netip.Addr, error) {
	used := map[netip.Addr]bool{}
	out := make([]netip.Addr, len(members))
	for i, m := range members {
		addr := a.subnet.at(first + appliance.MemberNumber(m.Name) - 1)
		by := a.taken[addr]
		if appliance.MemberNumber(m.Name) >= 0 && by == "" && !used[addr] && a.subnet.contains(addr) {
			out[i], used[addr] = addr, true
		} else if strict && appliance.MemberNumber(m.Name) >= 0 {
			return nil, appliance.NewProblem(appliance.ErrHostAddressTaken, "the address %s for %s is taken by %s", addr, m.Name, by).
				WithHint("choose another first_address, or leave it out: pgapp then picks free addresses")
		}
	}
	next := first
	for i := range members {
		for ; !out[i].IsValid(); next++ {
			if next >= first+a.subnet.size() {
				return nil, appliance.NewProblem(appliance.ErrHostAddressTaken, "network %q has no free address left for %s", a.net.Name, members[i].Name)
			}
			addr := a.subnet.at(next % a.subnet.size())
			if a.subnet.contains(addr) && a.taken[addr] == "" && !used[addr] {
				out[i], used[addr] = addr, true
			}
		}
	}
	return out, nil
}

// aliveHosts dials each address: a living host accepts or refuses at once. A
// host that drops packets can only be known by its lease or reservation.
func aliveHosts(ctx context.Context, network Network, addrs []netip.Addr) map[netip.Addr]bool {
	ctx, cancel := context.WithTimeout(ctx, aliveLimit)
	defer cancel()
	living := map[netip.Addr]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, a := range addrs {
		wg.Go(func() {
			conn, err := network.Dial(ctx, "tcp", net.JoinHostPort(a.String(), "22"))
			if err == nil {
				_ = conn.Close()
			}
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
				mu.Lock()
				living[a] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return living
}
