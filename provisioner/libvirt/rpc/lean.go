package rpc

import (
	"context"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// Lean records that a file is in use: by a domain, as a disk or in a disk's
// backing chain, or by a volume that is a linked clone of the file.
type Lean struct {
	// File is the path of the file in use.
	File string
	// Domain and UUID identify the domain. If a volume uses the file, they are
	// empty and Volume is the volume's path.
	Domain, UUID string
	Volume       string
}

// By names the domain or volume that uses the file.
func (l Lean) By() string {
	if l.Volume != "" {
		return "volume " + l.Volume
	}
	return fmt.Sprintf("domain %q", l.Domain)
}

// Leans lists the uses of files by all domains, including other homes' domains,
// and by the volumes of all active pools. For a running domain, the backing
// chains are QEMU's current ones.
func (c *Conn) Leans(ctx context.Context) ([]Lean, error) {
	var out []Lean
	err := c.call(ctx, "asking which files are in use", func(v *golibvirt.Libvirt) error {
		ofVolumes, err := volumeLeans(v)
		if err != nil {
			return err
		}
		ofDomains, err := domainLeans(v)
		out = append(ofVolumes, ofDomains...)
		return err
	})
	return out, err
}

func volumeLeans(v *golibvirt.Libvirt) ([]Lean, error) {
	pools, _, err := v.ConnectListAllStoragePools(1, golibvirt.ConnectListStoragePoolsActive)
	if err != nil {
		return nil, err
	}
	var out []Lean
	for _, p := range pools {
		vols, _, err := v.StoragePoolListAllVolumes(p, 1, 0)
		if goneSince(err) || isCode(err, golibvirt.ErrOperationInvalid) {
			continue // the pool is gone or inactive
		}
		if err != nil {
			return nil, err
		}
		for _, vol := range vols {
			d, err := describeVolume(v, vol)
			if goneSince(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if d.Backing != "" {
				out = append(out, Lean{File: d.Backing, Volume: d.Path})
			}
		}
	}
	return out, nil
}

func goneSince(err error) bool {
	var refused golibvirt.Error
	return errors.As(err, &refused) && errors.Is(sentinel(refused.Code), ErrNotFound)
}

func domainLeans(v *golibvirt.Libvirt) ([]Lean, error) {
	doms, _, err := v.ConnectListAllDomains(1, 0)
	if err != nil {
		return nil, err
	}
	var out []Lean
	for _, dom := range doms {
		// Both the definition for the next start and the running domain.
		for _, flags := range []golibvirt.DomainXMLFlags{golibvirt.DomainXMLInactive, 0} {
			text, err := v.DomainGetXMLDesc(dom, flags)
			if goneSince(err) {
				break
			}
			if err != nil {
				return nil, err
			}
			var x libvirtxml.Domain
			if err := x.Unmarshal(text); err != nil {
				return nil, fmt.Errorf("reading the definition of domain %q: %w", dom.Name, err)
			}
			for _, f := range filesOf(v, x) {
				out = append(out, Lean{File: f, Domain: dom.Name, UUID: formatUUID(dom.UUID)})
			}
		}
	}
	return out, nil
}

// filesOf lists the files of the disks, of their backing chains and of the
// targets of running copies.
func filesOf(v *golibvirt.Libvirt, x libvirtxml.Domain) []string {
	var out []string
	add := func(s *libvirtxml.DomainDiskSource) {
		switch {
		case s == nil:
		case s.File != nil:
			out = append(out, s.File.File)
		case s.Block != nil:
			out = append(out, s.Block.Dev)
		case s.Volume != nil:
			if vol, err := findVolume(v, s.Volume.Pool, s.Volume.Volume); err == nil {
				out = append(out, vol.Key)
			}
		}
	}
	if x.Devices == nil {
		return nil
	}
	for _, d := range x.Devices.Disks {
		add(d.Source)
		for b := d.BackingStore; b != nil; b = b.BackingStore {
			add(b.Source)
		}
		if d.Mirror != nil {
			add(d.Mirror.Source)
		}
	}
	return out
}
