package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

var _ appliance.Resizer = (*Provider)(nil)

// SetSize writes memory and processors into the domain's definition. A member
// without a domain gets them when the domain is made.
func (p *Provider) SetSize(ctx context.Context, c appliance.Cluster, m appliance.Member, size appliance.MachineSize) error {
	if m.Placement != appliance.PlacementVM {
		return nil
	}
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil || hasSize(d.XML, size) {
		return err
	}
	return p.machines.edit(ctx, d.UUID, func(def *definition) error { return def.resize(size.MemoryMiB, size.VCPUs) })
}

// ApplySize grows the disk, in whatever file it is now.
func (p *Provider) ApplySize(ctx context.Context, c appliance.Cluster, m appliance.Member, size appliance.MachineSize, report appliance.Report) (restart bool, err error) {
	if m.Placement != appliance.PlacementVM {
		return false, nil
	}
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if err != nil || d.State != rpc.DomainRunning {
		return false, err
	}
	if size.DiskGiB != 0 {
		if err := p.machines.growDisk(ctx, d.UUID, p.guest(c, m), uint64(size.DiskGiB)<<30, report); err != nil {
			return false, err
		}
	}
	return p.machines.needsRestart(ctx, d.UUID, size)
}

// needsRestart tells whether the running domain lacks the size.
func (mc *machines) needsRestart(ctx context.Context, domain string, size appliance.MachineSize) (bool, error) {
	live, err := mc.virt.LiveDomain(ctx, domain)
	return err == nil && !hasSize(live, size), err
}

// hasSize tells whether the domain has the memory and the processors, where they
// are wanted.
func hasSize(x libvirtxml.Domain, want appliance.MachineSize) bool {
	memory, vcpus := 0, 0
	if x.Memory != nil {
		memory = mib(x.Memory.Value, x.Memory.Unit)
	}
	if x.CurrentMemory != nil {
		memory = min(memory, mib(x.CurrentMemory.Value, x.CurrentMemory.Unit))
	}
	if x.VCPU != nil {
		vcpus = int(cmp.Or(x.VCPU.Current, x.VCPU.Value))
	}
	return (want.MemoryMiB == 0 || want.MemoryMiB == memory) && (want.VCPUs == 0 || want.VCPUs == vcpus)
}

// mib converts what libvirt writes, always in KiB, and what pgapp does.
func mib(value uint, unit string) int {
	if unit == "MiB" {
		return int(value)
	}
	return int(value >> 10)
}

// growScript has the root file system take the room that its disk has. growpart's
// exit code 1 says that the partition has it already.
const growScript = `set -eu
source=$(findmnt -nvo SOURCE /)
name=${source##*/}
if [ -e "/sys/class/block/$name/partition" ]; then
	disk=$(basename "$(readlink -f "/sys/class/block/$name/..")")
	growpart "/dev/$disk" "$(cat "/sys/class/block/$name/partition")" || [ $? = 1 ]
fi
case $(findmnt -no FSTYPE /) in
ext*) resize2fs "$source" ;;
xfs) xfs_growfs / ;;
btrfs) btrfs filesystem resize max / ;;
*) echo "the root file system can't be grown" >&2; exit 1 ;;
esac`

func (mc *machines) growDisk(ctx context.Context, domain string, g *guest, size uint64, report appliance.Report) error {
	has, err := mc.virt.DiskSize(ctx, domain, rootTarget)
	if err != nil {
		return err
	}
	if has < size {
		report(appliance.Progress{Detail: "growing the disk"})
		if err := mc.virt.ResizeDisk(ctx, domain, rootTarget, size); err != nil {
			return err
		}
	}
	// A disk that has the size may have been grown by an attempt that was cut off.
	if _, err := g.root(ctx, growScript); err != nil {
		return fmt.Errorf("growing the file system of %q: %w", g.member.Name, err)
	}
	return nil
}
