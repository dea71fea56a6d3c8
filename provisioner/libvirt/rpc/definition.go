package rpc

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// Definition returns the XML text of the definition that the next start uses. The
// text includes secrets such as a display's password, so that RedefineDomain
// keeps them.
func (c domainCalls) Definition(ctx context.Context, name string) (string, error) {
	var text string
	err := c.askDomain(ctx, "reading the definition of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		text, err = v.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive|golibvirt.DomainXMLSecure)
		return err
	})
	return text, err
}

// RedefineDomain replaces the definition of a domain with text. The domain's
// autostart and snapshots stay. A repeat is safe.
func (c domainCalls) RedefineDomain(ctx context.Context, name, text string) error {
	return c.call(ctx, fmt.Sprintf("changing the definition of domain %q", name), func(v *golibvirt.Libvirt) error {
		_, err := v.DomainDefineXMLFlags(text, 0) // without validation: a user's edit may not fit the schema
		return err
	})
}

// LiveDomain returns the running domain's XML, or the definition if the domain is
// off.
func (c domainCalls) LiveDomain(ctx context.Context, name string) (libvirtxml.Domain, error) {
	var x libvirtxml.Domain
	err := c.askDomain(ctx, "looking at", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
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

// DetachDisk removes the disk whose source is file from the definition. If the
// domain runs, DetachDisk also asks the guest to release the disk, and doesn't
// wait: the guest may release it later or never. A missing disk is no error.
func (c domainCalls) DetachDisk(ctx context.Context, name, file string) error {
	return c.withDomain(ctx, "detaching a disk from", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		state, _, err := v.DomainGetState(dom, 0)
		if err != nil {
			return err
		}
		if !DomainState(state).Off() {
			// libvirt refuses a second request while the first is pending.
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

// missingFile matches libvirt's message for a disk whose file doesn't exist.
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

// SourceOf returns the path of the disk's file, or "".
func SourceOf(d libvirtxml.DomainDisk) string {
	if d.Source == nil || d.Source.File == nil {
		return ""
	}
	return d.Source.File.File
}

// DiskThere reports whether the source of the domain's disk can be opened. target
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

// ResumeDomain resumes a paused domain. A repeat returns ErrInactive.
func (c domainCalls) ResumeDomain(ctx context.Context, name string) error {
	return c.withDomain(ctx, "resuming", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainResume(dom)
	})
}

// ResizeDisk resizes the disk of a running domain to size bytes. The guest's
// partitions and file systems keep their size.
func (c domainCalls) ResizeDisk(ctx context.Context, name, target string, size uint64) error {
	return c.withDomain(ctx, "resizing the disk of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainBlockResize(dom, target, size, golibvirt.DomainBlockResizeBytes)
	})
}

// DiskSize returns the disk's size in bytes, as the guest sees it.
func (c domainCalls) DiskSize(ctx context.Context, name, target string) (uint64, error) {
	var size uint64
	err := c.withDomain(ctx, "looking at the disk of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		_, size, _, err = v.DomainGetBlockInfo(dom, target, 0)
		return err
	})
	return size, err
}
