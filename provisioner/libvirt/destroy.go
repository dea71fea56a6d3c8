package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// stepRemoveShared is the last step where the whole cluster goes.
const stepRemoveShared = "remove-shared"

// DestroySteps are "remove/<member>" for each member and, where they are all
// of the cluster's, "remove-shared": a builder that was left behind, and the
// network if pgapp made it. Base and golden images stay for the next cluster.
func (p *Provider) DestroySteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	local, vms := split(members)
	var steps []appliance.Step
	var after []string
	if len(local) > 0 {
		steps = p.cfg.Local.DestroySteps(c, local)
	}
	for _, m := range vms {
		steps = append(steps, appliance.Step{
			ID: "remove/" + m.Name, Title: "remove the machine and its disk", Member: m.Name,
			Done: func(ctx context.Context) (bool, error) { return p.machineRemoved(ctx, c, m.Name) },
			Do:   func(ctx context.Context, _ appliance.Report) error { return p.removeMachine(ctx, c, m.Name) },
		})
	}
	for _, s := range steps {
		after = append(after, s.ID)
	}
	if len(members) < len(c.Members) {
		return steps
	}
	return append(steps, appliance.Step{
		ID: stepRemoveShared, Title: "remove what the machines shared", After: after,
		Done: func(ctx context.Context) (bool, error) { return p.sharedRemoved(ctx, c) },
		Do:   func(ctx context.Context, _ appliance.Report) error { return p.removeShared(ctx, c) },
	})
}

// machineRemoved observes whether anything of the member's is left.
func (p *Provider) machineRemoved(ctx context.Context, c appliance.Cluster, member string) (bool, error) {
	d, err := p.virt.Domain(ctx, domainName(c.Name, member))
	if err == nil {
		t, ours := domainTag(d.XML)
		return !ours || t.UUID != c.UUID, nil
	}
	if !errors.Is(err, rpc.ErrNotFound) {
		return false, err
	}
	vols, err := p.clusterVolumes(ctx, c.UUID, c.Name, member)
	if err != nil || len(vols) > 0 {
		return false, err
	}
	n, err := p.virt.Network(ctx, networkName(c.Spec))
	if errors.Is(err, rpc.ErrNotFound) {
		return true, nil
	}
	name := reservationName(memberTag(c, member))
	for _, h := range reservations(n.XML) {
		if h.Name == name {
			return false, nil
		}
	}
	return err == nil, err
}

// clusterVolumes lists the cluster's volumes, or one member's; none where
// there is no pool.
func (p *Provider) clusterVolumes(ctx context.Context, uuid, cluster, member string) ([]string, error) {
	vols, err := p.virt.Volumes(ctx, poolName)
	if errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrInactive) {
		return nil, nil
	}
	var out []string
	for _, v := range vols {
		if volumeOf(v.Name, uuid, cluster, member) {
			out = append(out, v.Name)
		}
	}
	return out, err
}

// removeMachine removes a member's domain, volumes and reservation, whatever
// of them is there, and leaves a domain of that name alone that isn't ours.
func (p *Provider) removeMachine(ctx context.Context, c appliance.Cluster, member string) error {
	p.forget(c, member)
	name := domainName(c.Name, member)
	d, err := p.virt.Domain(ctx, name)
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return err
	}
	if t, ours := domainTag(d.XML); err == nil && ours && t.UUID == c.UUID {
		if err := p.removeDomain(ctx, name); err != nil {
			return err
		}
	}
	if err := p.removeVolumes(ctx, c.UUID, c.Name, member); err != nil {
		return err
	}
	reservation := reservationName(memberTag(c, member))
	return p.release(ctx, networkName(c.Spec), func(n string) bool { return n == reservation })
}

func (p *Provider) removeDomain(ctx context.Context, name string) error {
	if err := p.virt.DestroyDomain(ctx, name); err != nil {
		return err
	}
	return p.virt.UndefineDomain(ctx, name)
}

// removeVolumes reads the pool's directory first: libvirt doesn't know of the
// console's log otherwise.
func (p *Provider) removeVolumes(ctx context.Context, uuid, cluster, member string) error {
	pool, err := p.virt.Pool(ctx, poolName)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !pool.Active {
		if err := p.virt.StartPool(ctx, poolName); err != nil {
			return err
		}
	}
	// Refused while something is uploaded; that isn't the console's log.
	refreshed := p.virt.RefreshPool(ctx, poolName)
	vols, err := p.clusterVolumes(ctx, uuid, cluster, member)
	if err != nil {
		return errors.Join(err, refreshed)
	}
	for _, v := range vols {
		if err := p.deleteWhenIdle(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// removeShared removes a left builder and, if pgapp made it for this cluster
// and nothing else uses it, the network.
func (p *Provider) removeShared(ctx context.Context, c appliance.Cluster) error {
	if err := p.removeMachine(ctx, c, builder); err != nil {
		return err
	}
	if err := p.removeVolumes(ctx, c.UUID, c.Name, ""); err != nil {
		return err
	}
	return p.removeOwnNetwork(ctx, networkName(c.Spec), c.UUID)
}

// sharedRemoved observes what removeShared brings about.
func (p *Provider) sharedRemoved(ctx context.Context, c appliance.Cluster) (bool, error) {
	if gone, err := p.machineRemoved(ctx, c, builder); err != nil || !gone {
		return false, err
	}
	if vols, err := p.clusterVolumes(ctx, c.UUID, c.Name, ""); err != nil || len(vols) > 0 {
		return false, err
	}
	n, err := p.virt.Network(ctx, networkName(c.Spec))
	if errors.Is(err, rpc.ErrNotFound) {
		return true, nil
	}
	if t, ours := networkTag(n.XML); err != nil || !ours || t.UUID != c.UUID {
		return err == nil, err
	}
	return p.networkUsed(ctx, n.Name)
}

func (p *Provider) networkUsed(ctx context.Context, name string) (bool, error) {
	all, err := p.virt.Domains(ctx)
	return slices.ContainsFunc(all, func(d rpc.Domain) bool { return usesNetwork(d, name) }), err
}

func (p *Provider) removeOwnNetwork(ctx context.Context, name, uuid string) error {
	n, err := p.virt.Network(ctx, name)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t, ours := networkTag(n.XML); !ours || t.UUID != uuid {
		return nil
	}
	if used, err := p.networkUsed(ctx, name); err != nil || used {
		return err
	}
	return p.virt.RemoveNetwork(ctx, name)
}

func usesNetwork(d rpc.Domain, network string) bool {
	return slices.Contains(networksOf(d), network)
}

func networksOf(d rpc.Domain) []string {
	var out []string
	if d.XML.Devices == nil {
		return nil
	}
	for _, i := range d.XML.Devices.Interfaces {
		if i.Source != nil && i.Source.Network != nil {
			out = append(out, i.Source.Network.Network)
		}
	}
	return out
}

// DestroyByTag removes every domain, volume and reservation that carries the
// cluster's UUID, and the network that pgapp made for it, without any record
// of the cluster: its home may be lost. What it removes is reported. A repeat
// does nothing.
func (p *Provider) DestroyByTag(ctx context.Context, uuid string, report appliance.Report) error {
	if len(uuid) < shortUUID {
		return appliance.NewProblem(appliance.ErrUsage, "%q is no cluster's UUID", uuid)
	}
	all, err := p.virt.Domains(ctx)
	if err != nil {
		return err
	}
	networks := []string{appliance.DefaultNetwork}
	var errs []error
	for _, d := range all {
		t, ours := domainTag(d.XML)
		if !ours || t.UUID != uuid {
			continue
		}
		report(appliance.Progress{Detail: "removing domain " + d.Name})
		errs = append(errs, p.removeDomain(ctx, d.Name))
		for _, n := range networksOf(d) {
			if !slices.Contains(networks, n) {
				networks = append(networks, n)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing what carries %s: %w", uuid, err)
	}
	vols, err := p.clusterVolumes(ctx, uuid, "", "")
	if err != nil {
		return err
	}
	for _, v := range vols {
		report(appliance.Progress{Detail: "removing volume " + v})
	}
	if err := p.removeVolumes(ctx, uuid, "", ""); err != nil {
		return err
	}
	for _, n := range networks {
		ours := func(name string) bool {
			return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, "-"+uuid[:shortUUID])
		}
		if err := p.release(ctx, n, ours); err != nil {
			return err
		}
		if err := p.removeOwnNetwork(ctx, n, uuid); err != nil {
			return err
		}
	}
	return nil
}
