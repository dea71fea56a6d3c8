package libvirt

import (
	"context"
	"fmt"
)

// unplugged returns errDeaf if the host's end of the machine's network card
// isn't on its bridge, as after the network was destroyed and started again.
func (mc *machines) unplugged(ctx context.Context, name string) error {
	x, err := mc.virt.LiveDomain(ctx, name)
	if err != nil || x.Devices == nil {
		return err
	}
	for _, i := range x.Devices.Interfaces {
		if i.Target == nil || i.Source == nil || i.Source.Network == nil || i.Source.Network.Bridge == "" {
			continue
		}
		// What the kernel doesn't say is found out by waiting.
		if loose, err := mc.cfg.Host.Network.OnNoBridge(i.Target.Dev); err == nil && loose {
			return fmt.Errorf("%w: its network card %s is not on the bridge %s", errDeaf, i.Target.Dev, i.Source.Network.Bridge)
		}
	}
	return nil
}
