package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// Available tells whether this host's libvirt answers and can start machines
// for the spec; why says so in a few words where it can't, or how where it can.
// It changes nothing.
func (p *Provider) Available(ctx context.Context, s appliance.Spec) (ok bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	version, err := p.virt.Version(ctx)
	if err != nil {
		return false, appliance.AsProblem(err).Message
	}
	kind, err := p.domainType(ctx, s.Accel)
	if err != nil {
		return false, appliance.AsProblem(err).Message
	}
	if _, err := p.virt.Capabilities(ctx, kind); err != nil {
		return false, appliance.AsProblem(err).Message
	}
	if kind == typeTCG {
		return true, "libvirt " + version + ", emulating"
	}
	return true, "libvirt " + version + " with KVM"
}

// RemoveUnusedImages removes the base and golden images in the pool that no
// machine's disk leans on. A repeat does nothing. What it removes is reported.
func (p *Provider) RemoveUnusedImages(ctx context.Context, report appliance.Report) error {
	for {
		unused, err := p.unusedImages(ctx)
		if err != nil || len(unused) == 0 {
			return err
		}
		for _, name := range unused {
			report(appliance.Progress{Detail: "removing volume " + name})
			if err := p.dropVolume(ctx, name); err != nil {
				return err
			}
		}
	}
}

// unusedImages lists the images that nothing leans on: golden images first,
// after which their bases are found.
func (p *Provider) unusedImages(ctx context.Context) ([]string, error) {
	vols, err := p.virt.Volumes(ctx, poolName)
	if errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrInactive) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	used, err := p.usedFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range vols {
		used = append(used, v.Backing)
	}
	var out []string
	for _, v := range vols {
		image := strings.HasPrefix(v.Name, "base-") || strings.HasPrefix(v.Name, "golden-")
		if image && !strings.HasSuffix(v.Name, readySuffix) && !slices.Contains(used, v.Path) {
			out = append(out, v.Name)
		}
	}
	return out, nil
}

// usedFiles lists the files that are disks of some domain.
func (p *Provider) usedFiles(ctx context.Context) ([]string, error) {
	all, err := p.virt.Domains(ctx)
	var out []string
	for _, d := range all {
		out = append(out, diskFiles(d)...)
	}
	return out, err
}

// diskFiles lists the files that are the domain's disks.
func diskFiles(d rpc.Domain) []string {
	var out []string
	if d.XML.Devices == nil {
		return nil
	}
	for _, disk := range d.XML.Devices.Disks {
		if disk.Source != nil && disk.Source.File != nil {
			out = append(out, disk.Source.File.File)
		}
	}
	return out
}
