package libvirt

import (
	"context"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// Available tells whether this host's libvirt answers and can start machines
// for the spec. why is the reason if not, else libvirt's version and the
// accelerator. It changes nothing.
func (p *Provider) Available(ctx context.Context, s appliance.Spec) (ok bool, why string) {
	return p.checks.available(ctx, s)
}

func (ck *checks) available(ctx context.Context, s appliance.Spec) (ok bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	version, err := ck.virt.Version(ctx)
	if err != nil {
		return false, appliance.AsProblem(err).Message
	}
	kind, err := ck.accel.domainType(ctx, s.Accel)
	if err != nil {
		return false, appliance.AsProblem(err).Message
	}
	if _, err := ck.virt.Capabilities(ctx, kind); err != nil {
		return false, appliance.AsProblem(err).Message
	}
	if kind == typeTCG {
		return true, "libvirt " + version + ", emulating"
	}
	return true, "libvirt " + version + " with KVM"
}

// diskFiles lists the files of the domain's disks.
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
