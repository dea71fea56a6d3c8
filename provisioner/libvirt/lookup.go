package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// named looks a domain up by its name.
func (mc *machines) named(ctx context.Context, name string) (rpc.Domain, error) {
	return mc.virt.Domain(ctx, name)
}

// otherWith finds another cluster's domain that has the file as a disk.
func (mc *machines) otherWith(ctx context.Context, file, uuid string) (d rpc.Domain, found bool, err error) {
	all, err := mc.virt.Domains(ctx)
	for _, d := range all {
		t, ours := domainTag(d.XML)
		if ours && t.UUID != uuid && slices.Contains(diskFiles(d), file) {
			return d, true, nil
		}
	}
	return d, false, err
}

// checkName refuses a domain's name that another cluster's or a user's domain has.
func (mc *machines) checkName(ctx context.Context, name, uuid string) error {
	d, err := mc.virt.Domain(ctx, name)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return checkOwner(d, uuid)
}

// domainOf finds the member's domain by the recorded UUID, else by the tag,
// under any name. rpc.ErrNotFound says that libvirt has neither, nor a domain
// of the member's name. A foreign domain of that name is a Problem with id
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
