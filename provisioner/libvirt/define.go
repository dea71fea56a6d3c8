package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// define makes the domain. In an existing domain it changes only what the start
// needs, the accelerator and the seed's disk. Everything else stays as users
// left it: the disk's source and chain, memory, pinning, devices.
func (mc *machines) define(ctx context.Context, d rpc.Domain, exists bool, s machineSpec) error {
	if !exists {
		var err error
		if s.EFI, err = mc.accel.hasEFI(ctx, s.Type); err != nil {
			return err
		}
		x, err := s.domain()
		if err != nil {
			return err
		}
		return mc.virt.DefineDomain(ctx, x)
	}
	if err := checkDefinition(d, s); err != nil {
		return err
	}
	return mc.edit(ctx, s.Name, func(def *definition) error {
		if err := errors.Join(def.claim(s.UUID), def.accelerate(s.Type)); err != nil {
			return err
		}
		return def.withSeed(s.Seed)
	})
}

// edit changes the domain's definition. If change does nothing, libvirt isn't
// called.
func (mc *machines) edit(ctx context.Context, domain string, change func(*definition) error) error {
	text, err := mc.virt.Definition(ctx, domain)
	if err != nil {
		return err
	}
	def := definition{text}
	if err := change(&def); err != nil || def.text == text {
		return err
	}
	return mc.virt.RedefineDomain(ctx, domain, def.text)
}

// checkDefinition refuses a definition with which pgapp can't reach the
// machine.
func checkDefinition(d rpc.Domain, s machineSpec) error {
	const hint = "restore it: virsh edit %s; or, for a standby, virsh undefine --nvram %s, then run the same command again"
	switch {
	case d.UUID != s.UUID:
		return appliance.NewProblem(appliance.ErrConflict, "domain %q has the UUID %s instead of %s", d.Name, d.UUID, s.UUID).
			WithHint("if it is a copy, rename it with virsh domrename; pgapp then starts its own domain")
	case !hasInterface(d.XML, s.MAC):
		return appliance.NewProblem(appliance.ErrConflict, "domain %q has no network interface with the address %s any more", d.Name, s.MAC).
			WithHint(hint, d.Name, d.Name)
	case !hasTarget(d.XML, rootTarget):
		return appliance.NewProblem(appliance.ErrConflict, "domain %q has no disk %s any more", d.Name, rootTarget).
			WithHint(hint, d.Name, d.Name)
	}
	return nil
}

func hasInterface(x libvirtxml.Domain, mac string) bool {
	return x.Devices != nil && slices.ContainsFunc(x.Devices.Interfaces, func(i libvirtxml.DomainInterface) bool {
		return i.MAC != nil && strings.EqualFold(i.MAC.Address, mac)
	})
}

func hasTarget(x libvirtxml.Domain, target string) bool {
	return x.Devices != nil && slices.ContainsFunc(x.Devices.Disks, func(d libvirtxml.DomainDisk) bool {
		return d.Target != nil && d.Target.Dev == target
	})
}

// claim writes the domain's UUID into pgapp's tag; tags of older versions lack
// it.
func (d *definition) claim(uuid string) error {
	e, ok, err := d.one("metadata", "pgapp:object")
	if err == nil && ok && d.attr(e, "domain") == "" && d.attr(e, "uuid") != "" {
		d.setAttr(e, "uuid", d.attr(e, "uuid")+"' domain='"+uuid)
	}
	return err
}

// withSeed adds the seed's disk unless it is there; file may be empty.
func (d *definition) withSeed(file string) error {
	if file == "" {
		return nil
	}
	if _, ok, err := d.disk(file); err != nil || ok {
		return err
	}
	target, err := d.freeTarget(seedTarget)
	if err != nil {
		return err
	}
	text, err := new(seedDisk(file, target)).Marshal()
	if err != nil {
		return err
	}
	return d.add(text, "devices")
}

// withRoot makes the file the domain's first disk, in place of any other.
func (d *definition) withRoot(s machineSpec) error {
	text, err := new(s.rootDisk()).Marshal()
	if err != nil {
		return err
	}
	e, ok, err := d.diskAt(rootTarget)
	if err != nil {
		return err
	}
	if ok {
		d.remove(e)
	}
	return d.add(text, "devices")
}

// rootState tells whether a member's disk exists.
type rootState int

const (
	rootThere rootState = iota
	// rootNew: neither the domain nor its disk exists.
	rootNew
	// rootGone: the domain is off, and its disk is missing.
	rootGone
)

// root looks for the member's disk. A domain's disk is the file in its
// definition, which may be a snapshot's overlay or lie elsewhere. A running
// domain has its disk.
func (mc *machines) root(ctx context.Context, c appliance.Cluster, m appliance.Member) (rootState, rpc.Domain, error) {
	recorded := volumeName(memberTag(c, m.Name), volRoot)
	d, err := mc.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		_, ok, err := mc.disks.volume(ctx, recorded)
		if err != nil || !ok {
			return rootNew, rpc.Domain{}, err
		}
		return rootThere, rpc.Domain{}, mc.disks.checkBare(ctx, c, m)
	}
	if err != nil || !d.State.Off() || !hasTarget(d.XML, rootTarget) {
		return rootThere, d, err
	}
	there, err := mc.virt.DiskThere(ctx, d.UUID, rootTarget)
	if err != nil || there {
		return rootThere, d, err
	}
	return rootGone, d, nil
}

// checkBare refuses to define a domain on a disk with an overlay, such as a
// snapshot's: the overlay has the newer data, and the definition that named it
// is lost.
func (ds *disks) checkBare(ctx context.Context, c appliance.Cluster, m appliance.Member) error {
	path := poolPath + "/" + volumeName(memberTag(c, m.Name), volRoot)
	_ = ds.refresh(ctx)
	vols, err := ds.volumes(ctx)
	if err != nil && !errors.Is(err, rpc.ErrNotFound) && !errors.Is(err, rpc.ErrInactive) {
		return err
	}
	for _, v := range vols {
		if v.Backing == path {
			return appliance.NewProblem(appliance.ErrConflict, "domain %q is no longer defined, and the overlay %s holds newer data of the member's disk", m.Domain, v.Path).
				WithHint("merge it: qemu-img commit %s; then remove it, and run the same command again", v.Path)
		}
	}
	return nil
}

// diskGone is the problem of a member without its disk.
func diskGone(c appliance.Cluster, m appliance.Member) error {
	gone := appliance.NewProblem(appliance.ErrMemberUnreachable, "the disk of %q is gone", m.Name)
	if m.Name == c.Primary {
		return gone.WithHint("the member is the primary: put the file back where 'virsh domblklist %s' shows it; the standbys hold its data", m.Domain)
	}
	return gone.WithHint("recreate the member and its disk: pgapp reinit %s", m.Name)
}
