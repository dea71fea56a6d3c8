package libvirt

import (
	"context"
	"fmt"
	"strings"
	"syscall"
)

// unplugged is errDeaf where the host's end of the machine's network card isn't
// on its bridge, as after the network was destroyed and made again.
func (p *Provider) unplugged(ctx context.Context, name string) error {
	x, err := p.virt.LiveDomain(ctx, name)
	if err != nil || x.Devices == nil {
		return err
	}
	for _, i := range x.Devices.Interfaces {
		if i.Target == nil || i.Source == nil || i.Source.Network == nil || i.Source.Network.Bridge == "" {
			continue
		}
		// What the kernel doesn't say is found out by waiting.
		if loose, err := p.cfg.loose(i.Target.Dev); err == nil && loose {
			return fmt.Errorf("%w: its network card %s is not on the bridge %s", errDeaf, i.Target.Dev, i.Source.Network.Bridge)
		}
	}
	return nil
}

// iflaMaster is the attribute of a link that is part of another (linux/if_link.h).
const iflaMaster = 10

// onNoBridge asks the kernel whether it has the card and the card is part of no
// other link.
func onNoBridge(card string) (bool, error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return false, fmt.Errorf("listing network cards: %w", err)
	}
	links, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return false, fmt.Errorf("listing network cards: %w", err)
	}
	for _, l := range links {
		if l.Header.Type != syscall.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&l)
		if err != nil {
			return false, fmt.Errorf("listing network cards: %w", err)
		}
		name, master := "", false
		for _, a := range attrs {
			switch a.Attr.Type {
			case syscall.IFLA_IFNAME:
				name = strings.TrimRight(string(a.Value), "\x00")
			case iflaMaster:
				master = true
			}
		}
		if name == card {
			return !master, nil
		}
	}
	return false, nil
}
