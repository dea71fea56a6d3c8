package libvirt

import (
	"context"
	"errors"
	"fmt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// domainOf finds the member's domain, under whatever name: by the recorded
// UUID, else by the tag. rpc.ErrNotFound says that libvirt has neither, nor a
// domain of the member's name; a foreign one of that name is a Problem with id
// foreign-object. Calls that act on the domain take its UUID.
func (mc *machines) domainOf(ctx context.Context, uuid string, m appliance.Member) (rpc.Domain, error) {
	if m.UUID != "" {
		d, err := mc.virt.Domain(ctx, m.UUID)
		if err == nil {
			return d, checkOwner(d, uuid)
		}
		if !errors.Is(err, rpc.ErrNotFound) {
			return d, err
		}
	}
	all, err := mc.virt.Domains(ctx)
	if err != nil {
		return rpc.Domain{}, err
	}
	for _, d := range all {
		if t, ok := owned(d, uuid); ok && t.Member == m.Name {
			return d, nil
		}
	}
	for _, d := range all {
		if d.Name == m.Domain {
			return d, checkOwner(d, uuid)
		}
	}
	return rpc.Domain{}, fmt.Errorf("looking for the domain of %q: %w", m.Name, rpc.ErrNotFound)
}
