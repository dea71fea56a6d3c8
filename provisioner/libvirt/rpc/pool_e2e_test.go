//go:build e2e

package rpc

import (
	"context"

	golibvirt "github.com/digitalocean/go-libvirt"
)

func (c *Conn) removePool(ctx context.Context, name string) error {
	return c.call(ctx, "removing a pool", func(v *golibvirt.Libvirt) error {
		p, err := v.StoragePoolLookupByName(name)
		if err != nil {
			return err
		}
		if err := v.StoragePoolDestroy(p); err != nil {
			return err
		}
		return v.StoragePoolUndefine(p)
	})
}
