package libvirt

import (
	"context"

	"pgapp/appliance"
)

// Doctor checks what the spec needs of this host.
func (p *Provider) Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding {
	return nil
}
