package rpc

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// Definition is the text of the definition that the next start uses, with what
// libvirt otherwise hides, such as the password of a screen: the text can be
// changed and given to RedefineDomain.
func (c domainCalls) Definition(ctx context.Context, name string) (string, error) {
	var text string
	err := c.withDomain(ctx, "reading the definition of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		text, err = v.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive|golibvirt.DomainXMLSecure)
		return err
	})
	return text, err
}

// RedefineDomain replaces the definition of a domain by a changed text of it.
// The domain's autostart and snapshots stay. A repeat is safe.
func (c domainCalls) RedefineDomain(ctx context.Context, name, text string) error {
	return c.call(ctx, fmt.Sprintf("changing the definition of domain %q", name), func(v *golibvirt.Libvirt) error {
		_, err := v.DomainDefineXMLFlags(text, 0) // a person's part may be what the schema doesn't know
		return err
	})
}

// LiveDomain is what the running domain has, or the definition where it is off.
func (c domainCalls) LiveDomain(ctx context.Context, name string) (libvirtxml.Domain, error) {
	var x libvirtxml.Domain
	err := c.withDomain(ctx, "looking at", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		x, err = described(v, dom, 0)
		return err
	})
	return x, err
}

func described(v *golibvirt.Libvirt, dom golibvirt.Domain, flags golibvirt.DomainXMLFlags) (libvirtxml.Domain, error) {
	var x libvirtxml.Domain
	text, err := v.DomainGetXMLDesc(dom, flags)
	if err != nil {
		return x, err
	}
	if err := x.Unmarshal(text); err != nil {
		return x, fmt.Errorf("reading the definition of domain %q: %w", dom.Name, err)
	}
	return x, nil
}

// DetachDisk takes the disk whose source is the file out of the definition and,
// where the domain runs, asks the guest to let go of it; that may come later, or
// never. A disk that isn't there is no error, and no other disk is touched.
func (c domainCalls) DetachDisk(ctx context.Context, name, file string) error {
	return c.withDomain(ctx, "detaching a disk from", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		state, _, err := v.DomainGetState(dom, 0)
		if err != nil {
			return err
		}
		if !DomainState(state).Off() {
			// Refused where the guest has been asked already.
			_ = detach(v, dom, file, 0, golibvirt.DomainDeviceModifyLive)
		}
		err = detach(v, dom, file, golibvirt.DomainXMLInactive, golibvirt.DomainDeviceModifyConfig)
		var refused golibvirt.Error
		if errors.As(err, &refused) && golibvirt.ErrorNumber(refused.Code) == golibvirt.ErrDeviceMissing {
			return nil
		}
		return err
	})
}

// missingFile matches libvirt's words where a disk's file is gone.
var missingFile = regexp.MustCompile(`No such file or directory`)

func detach(v *golibvirt.Libvirt, dom golibvirt.Domain, file string, from golibvirt.DomainXMLFlags, in golibvirt.DomainDeviceModifyFlags) error {
	x, err := described(v, dom, from)
	if err != nil {
		return err
	}
	d, ok := DiskOf(x, file)
	if !ok {
		return nil
	}
	text, err := d.Marshal()
	if err != nil {
		return fmt.Errorf("encoding a disk of domain %q: %w", dom.Name, err)
	}
	return v.DomainDetachDeviceFlags(dom, text, uint32(in))
}

// DiskOf finds the disk whose source is that file.
func DiskOf(x libvirtxml.Domain, file string) (libvirtxml.DomainDisk, bool) {
	if x.Devices == nil {
		return libvirtxml.DomainDisk{}, false
	}
	for _, d := range x.Devices.Disks {
		if SourceOf(d) == file {
			return d, true
		}
	}
	return libvirtxml.DomainDisk{}, false
}

// SourceOf is the file that the disk is, or "".
func SourceOf(d libvirtxml.DomainDisk) string {
	if d.Source == nil || d.Source.File == nil {
		return ""
	}
	return d.Source.File.File
}

// DiskThere tells whether the source of the domain's disk can be opened; target
// is the disk's name in the domain, such as vda.
func (c domainCalls) DiskThere(ctx context.Context, name, target string) (bool, error) {
	err := c.withDomain(ctx, "looking at the disk of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		_, _, _, err := v.DomainGetBlockInfo(dom, target, 0)
		return err
	})
	if err != nil && missingFile.MatchString(err.Error()) {
		return false, nil
	}
	return err == nil, err
}

// ResumeDomain lets a paused domain go on. A repeat is an error that is
// ErrInactive.
func (c domainCalls) ResumeDomain(ctx context.Context, name string) error {
	return c.withDomain(ctx, "resuming", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainResume(dom)
	})
}

// ResizeDisk gives the disk of a running domain that many bytes. The guest sees
// a larger disk, and nothing else happens in it.
func (c domainCalls) ResizeDisk(ctx context.Context, name, target string, size uint64) error {
	return c.withDomain(ctx, "resizing the disk of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainBlockResize(dom, target, size, golibvirt.DomainBlockResizeBytes)
	})
}

// DiskSize is how many bytes the guest has in the disk.
func (c domainCalls) DiskSize(ctx context.Context, name, target string) (uint64, error) {
	var size uint64
	err := c.withDomain(ctx, "looking at the disk of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		_, size, _, err = v.DomainGetBlockInfo(dom, target, 0)
		return err
	})
	return size, err
}
