package libvirt

import (
	"context"
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

func (f *fake) Network(_ context.Context, name string) (rpc.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.networks[name]
	if !ok {
		return rpc.Network{}, rpc.ErrNotFound
	}
	return *n, nil
}

func (f *fake) DefineNetwork(_ context.Context, x libvirtxml.Network) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, err := reparse(x)
	f.networks[x.Name] = &rpc.Network{Name: x.Name, XML: x}
	return err
}

func (f *fake) StartNetwork(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.networks[name].Active = true
	return nil
}

func (f *fake) RemoveNetwork(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.networks, name)
	return nil
}

func (f *fake) AddHost(_ context.Context, network string, h libvirtxml.NetworkDHCPHost) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.networks[network].XML.IPs[0].DHCP
	for _, x := range d.Hosts {
		if strings.EqualFold(x.MAC, h.MAC) || x.IP == h.IP {
			return fmt.Errorf("there is an entry for %s", h.MAC)
		}
	}
	d.Hosts = append(d.Hosts, h)
	return nil
}

func (f *fake) RemoveHost(_ context.Context, network string, h libvirtxml.NetworkDHCPHost) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.networks[network].XML.IPs[0].DHCP
	var kept []libvirtxml.NetworkDHCPHost
	for _, x := range d.Hosts {
		if !strings.EqualFold(x.MAC, h.MAC) {
			kept = append(kept, x)
		}
	}
	if len(kept) == len(d.Hosts) {
		return fmt.Errorf("there is no entry for %s", h.MAC)
	}
	d.Hosts = kept
	return nil
}

func (f *fake) Leases(context.Context, string) ([]rpc.Lease, error) { return f.leases, nil }

func (f *fake) RunDomain(_ context.Context, x libvirtxml.Domain) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := rpc.Domain{Name: x.Name, UUID: x.UUID, XML: x, State: rpc.DomainRunning}
	switch f.kvm {
	case "refuses":
		return appliance.NewProblem(appliance.ErrHostNoKVM, "failed to set MSR 0x10a")
	case "pauses":
		d.State = rpc.DomainPaused
	}
	f.domains[x.Name], f.transient[x.Name] = &d, true
	return nil
}
