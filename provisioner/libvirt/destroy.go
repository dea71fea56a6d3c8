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
			Do: func(ctx context.Context, report appliance.Report) error {
				return p.removeMachine(ctx, c, m.Name, report)
			},
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
		Do:   func(ctx context.Context, report appliance.Report) error { return p.removeShared(ctx, c, report) },
	})
}

// machineRemoved observes whether anything of the member's is left. What can't
// be looked at counts as left.
func (p *Provider) machineRemoved(ctx context.Context, c appliance.Cluster, member string) (bool, error) {
	ds, err := p.machines.domainsOf(ctx, c.UUID, member)
	if err != nil || len(ds) > 0 {
		return false, err
	}
	vols, seen, err := p.disks.clusterVolumes(ctx, c.UUID, c.Name, member)
	if err != nil || !seen || len(vols) > 0 {
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

// removeMachine removes a member's domain, volumes and reservation, whatever
// of them is there, and leaves a domain of that name alone that isn't ours.
func (p *Provider) removeMachine(ctx context.Context, c appliance.Cluster, member string, report appliance.Report) error {
	p.forget(c, member)
	for _, m := range c.Members {
		if m.Name != member || m.Placement == appliance.PlacementLocal {
			continue
		}
		// libvirt may have lost a machine that still writes to its disk.
		if _, err := p.machines.domainOf(ctx, c.UUID, m); errors.Is(err, rpc.ErrNotFound) {
			if err := p.cfg.Host.proveEnded(ctx, m); err != nil {
				return err
			}
		}
	}
	if err := (removal{p: p, uuid: c.UUID, cluster: c.Name, member: member, report: report}).run(ctx); err != nil {
		return err
	}
	reservation := reservationName(memberTag(c, member))
	return p.networks.release(ctx, networkName(c.Spec), func(n string) bool { return n == reservation })
}

// removeShared removes a left builder and, if pgapp made it for this cluster
// and nothing else uses it, the network.
func (p *Provider) removeShared(ctx context.Context, c appliance.Cluster, report appliance.Report) error {
	if err := p.removeMachine(ctx, c, builder, report); err != nil {
		return err
	}
	if err := (removal{p: p, uuid: c.UUID, cluster: c.Name, report: report}).run(ctx); err != nil {
		return err
	}
	return p.networks.removeOwnNetwork(ctx, networkName(c.Spec), c.UUID)
}

// sharedRemoved observes what removeShared brings about.
func (p *Provider) sharedRemoved(ctx context.Context, c appliance.Cluster) (bool, error) {
	if gone, err := p.machineRemoved(ctx, c, builder); err != nil || !gone {
		return false, err
	}
	if ds, err := p.machines.domainsOf(ctx, c.UUID, ""); err != nil || len(ds) > 0 {
		return false, err
	}
	if vols, seen, err := p.disks.clusterVolumes(ctx, c.UUID, c.Name, ""); err != nil || !seen || len(vols) > 0 {
		return false, err
	}
	n, err := p.virt.Network(ctx, networkName(c.Spec))
	if errors.Is(err, rpc.ErrNotFound) {
		return true, nil
	}
	if t, ours := networkTag(n.XML); err != nil || !ours || t.UUID != c.UUID {
		return err == nil, err
	}
	return p.networks.networkUsed(ctx, n.Name)
}

func (ns *networks) networkUsed(ctx context.Context, name string) (bool, error) {
	all, err := ns.virt.Domains(ctx)
	return slices.ContainsFunc(all, func(d rpc.Domain) bool { return usesNetwork(d, name) }), err
}

func (ns *networks) removeOwnNetwork(ctx context.Context, name, uuid string) error {
	n, err := ns.virt.Network(ctx, name)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t, ours := networkTag(n.XML); !ours || t.UUID != uuid {
		return nil
	}
	if used, err := ns.networkUsed(ctx, name); err != nil || used {
		return err
	}
	return ns.virt.RemoveNetwork(ctx, name)
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
	ds, err := p.machines.domainsOf(ctx, uuid, "")
	if err != nil {
		return err
	}
	networks := []string{appliance.DefaultNetwork}
	for _, d := range ds {
		for _, n := range networksOf(d) {
			if !slices.Contains(networks, n) {
				networks = append(networks, n)
			}
		}
	}
	if err := (removal{p: p, uuid: uuid, report: report}).run(ctx); err != nil {
		return fmt.Errorf("removing what carries %s: %w", uuid, err)
	}
	for _, n := range networks {
		ours := func(name string) bool {
			return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, "-"+uuid[:shortUUID])
		}
		if err := p.networks.release(ctx, n, ours); err != nil {
			return err
		}
		if err := p.networks.removeOwnNetwork(ctx, n, uuid); err != nil {
			return err
		}
	}
	return nil
}
