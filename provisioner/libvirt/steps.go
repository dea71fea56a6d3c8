package libvirt

import (
	"context"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// The steps that members share.
const (
	stepKeys    = "keys"
	stepNetwork = "network"
	stepImage   = "image"
	stepGolden  = "golden-image"
)

// CreateSteps are "keys", "network", "image" and "golden-image", which members
// share, then "disk/<member>" and "machine/<member>" for each. A member on the
// host has the local provider's steps, after the network.
func (p *Provider) CreateSteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	local, vms := split(members)
	steps := []appliance.Step{{
		ID: stepNetwork, Title: "start the network",
		Done: func(ctx context.Context) (bool, error) {
			n, exists, err := p.networks.network(ctx, networkName(c.Spec), memberTag(c, ""))
			return exists && n.Active, err
		},
		Do: func(ctx context.Context, _ appliance.Report) error {
			_, err := p.networks.ensureNetwork(ctx, c)
			return err
		},
	}}
	if len(local) > 0 {
		for _, s := range p.cfg.Local.CreateSteps(c, local) {
			if len(s.After) == 0 {
				s.After = []string{stepNetwork}
			}
			steps = append(steps, s)
		}
	}
	if len(vms) == 0 {
		return steps
	}
	steps = append(steps, p.sharedSteps(c, vms)...)
	for _, m := range vms {
		steps = append(steps, p.memberSteps(c, m)...)
	}
	return steps
}

func split(members []appliance.Member) (local, vms []appliance.Member) {
	for _, m := range members {
		if m.Placement == appliance.PlacementLocal {
			local = append(local, m)
		} else {
			vms = append(vms, m)
		}
	}
	return local, vms
}

func (p *Provider) sharedSteps(c appliance.Cluster, vms []appliance.Member) []appliance.Step {
	return []appliance.Step{
		{
			ID: stepKeys, Title: "make SSH keys",
			Done: func(ctx context.Context) (bool, error) { return p.haveKeys(ctx, c, vms) },
			Do:   func(ctx context.Context, _ appliance.Report) error { return p.ensureKeys(ctx, c, vms) },
		},
		{
			ID: stepImage, Title: "bring the image into the pool",
			Done: func(ctx context.Context) (bool, error) {
				if ok, err := p.haveDisks(ctx, c, vms...); err != nil || ok {
					return ok, err
				}
				return p.imaging.imageReady(ctx, c.Spec)
			},
			Do: func(ctx context.Context, report appliance.Report) error {
				return p.imaging.ensureBase(ctx, c.Spec, report)
			},
		},
		{
			ID: stepGolden, Title: "make the golden image", After: []string{stepImage, stepNetwork},
			Done: func(ctx context.Context) (bool, error) {
				if ok, err := p.haveDisks(ctx, c, vms...); err != nil || ok {
					return ok, err
				}
				_, ok, err := p.imaging.golden(ctx, c.Spec)
				return ok, err
			},
			Do: func(ctx context.Context, report appliance.Report) error { return p.ensureGolden(ctx, c, report) },
		},
	}
}

// imageReady tells whether the pool has a golden image, or the base to build
// one.
func (im *imaging) imageReady(ctx context.Context, s appliance.Spec) (bool, error) {
	digest, err := im.imageDigest(ctx, s)
	if err != nil {
		return false, nil //nolint:nilerr // Do says what is wrong with it
	}
	// A golden image that depends on a base is useless without it.
	if v, ok, err := im.disks.complete(ctx, goldenName(digest)); err != nil || ok && v.Backing == "" {
		return ok, err
	}
	_, ok, err := im.base(ctx, digest)
	return ok, err
}

func (p *Provider) memberSteps(c appliance.Cluster, m appliance.Member) []appliance.Step {
	disk := "disk/" + m.Name
	return []appliance.Step{
		{
			ID: disk, Title: "clone the disk", Member: m.Name, After: []string{stepGolden},
			Done: func(ctx context.Context) (bool, error) { return p.haveDisks(ctx, c, m) },
			Do:   func(ctx context.Context, _ appliance.Report) error { return p.ensureDisk(ctx, c, m) },
		},
		{
			ID: "machine/" + m.Name, Title: "boot the machine", Member: m.Name, Kind: appliance.StepMachine, After: []string{disk, stepKeys, stepNetwork},
			Done: func(ctx context.Context) (bool, error) { return p.machineReady(ctx, c, m) },
			Do: func(ctx context.Context, report appliance.Report) error {
				return p.ensureMachine(ctx, c, m, report)
			},
		},
	}
}

// haveDisks tells whether all members have their disks: then no image is
// needed.
func (p *Provider) haveDisks(ctx context.Context, c appliance.Cluster, members ...appliance.Member) (bool, error) {
	for _, m := range members {
		if state, _, err := p.machines.root(ctx, c, m); err != nil || state != rootThere {
			return false, err
		}
	}
	return true, nil
}

// ensureDisk makes the member's disk, a linked clone of the golden image. If a
// standby's disk is missing, its domain gets a new disk, and a seed, because
// the new guest has no identity yet.
func (p *Provider) ensureDisk(ctx context.Context, c appliance.Cluster, m appliance.Member) error {
	if err := p.disks.ensurePool(ctx); err != nil {
		return err
	}
	state, _, err := p.machines.root(ctx, c, m)
	switch {
	case err != nil:
		return err
	case state == rootThere:
		return nil
	case m.Name == c.Primary && c.Initialised:
		return diskGone(c, m)
	}
	golden, ok, err := p.imaging.golden(ctx, c.Spec)
	if err != nil {
		return err
	}
	if !ok {
		return appliance.NewProblem(appliance.ErrImageMissing, "the golden image of %s is gone", c.Spec.Image).
			WithHint("run the same command again: it makes the image again")
	}
	if state == rootGone {
		return p.remakeDisk(ctx, c, m, golden)
	}
	_, err = p.disks.ensureClone(ctx, volumeName(memberTag(c, m.Name), volRoot), golden, uint64(c.Spec.DiskGiB)<<30)
	return err
}

// remakeDisk gives a domain whose disk is missing a new disk and a seed.
func (p *Provider) remakeDisk(ctx context.Context, c appliance.Cluster, m appliance.Member, golden rpc.Volume) error {
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if err != nil {
		return err
	}
	_ = p.disks.refresh(ctx) // else libvirt lists a file that was deleted by hand
	spec := p.memberSpec(c, m)
	err = p.machines.edit(ctx, d.UUID, func(def *definition) error {
		if err := def.withRoot(spec); err != nil {
			return err
		}
		return def.withSeed(seedPath(spec.Tag))
	})
	if err != nil {
		return err
	}
	_, err = p.disks.ensureClone(ctx, volumeName(spec.Tag, volRoot), golden, uint64(c.Spec.DiskGiB)<<30)
	return err
}
