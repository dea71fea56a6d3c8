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

// stepRemoveShared is the last step of removing a whole cluster.
const stepRemoveShared = "remove-shared"

// DestroySteps are "remove/<member>" for each member. For all members of the
// cluster, "remove-shared" follows: it removes a leftover builder, and the
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
			ID: "remove/" + m.Name, Title: "remove the machine and its disk", Member: m.Name, Kind: appliance.StepRemove,
			Done: func(ctx context.Context) (bool, error) { return p.remover.machineRemoved(ctx, c, m.Name) },
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
		Done: func(ctx context.Context) (bool, error) { return p.remover.sharedRemoved(ctx, c) },
		Do: func(ctx context.Context, report appliance.Report) error {
			return p.remover.removeShared(ctx, c, report)
		},
	})
}

// machineRemoved tells whether the member's domain, volumes and reservation are
// gone. Volumes that libvirt can't show count as left.
func (rm *remover) machineRemoved(ctx context.Context, c appliance.Cluster, member string) (bool, error) {
	ds, err := rm.machines.domainsOf(ctx, c.UUID, member)
	if err != nil || len(ds) > 0 {
		return false, err
	}
	vols, seen, err := rm.disks.clusterVolumes(ctx, c.UUID, c.Name, member)
	if err != nil || !seen || len(vols) > 0 {
		return false, err
	}
	reserved, err := rm.networks.reserved(ctx, networkName(c.Spec), reservationName(memberTag(c, member)))
	return err == nil && !reserved, err
}

// removeMachine forgets the member's connection, and removes the member's machine.
func (p *Provider) removeMachine(ctx context.Context, c appliance.Cluster, member string, report appliance.Report) error {
	p.forget(c, member)
	return p.remover.removeMachine(ctx, c, member, report)
}

// removal starts a removal of a member's, or of the whole cluster's, machines.
func (rm *remover) removal(uuid, cluster, member string, report appliance.Report) removal {
	return removal{machines: rm.machines, disks: rm.disks, uuid: uuid, cluster: cluster, member: member, report: report}
}

// removeMachine removes a member's domain, volumes and reservation, as far as
// they exist. A foreign domain of the same name stays.
func (rm *remover) removeMachine(ctx context.Context, c appliance.Cluster, member string, report appliance.Report) error {
	for _, m := range c.Members {
		if m.Name != member || m.Placement == appliance.PlacementLocal {
			continue
		}
		// libvirt may have lost a machine that still writes to its disk.
		if _, err := rm.machines.domainOf(ctx, c.UUID, m); errors.Is(err, rpc.ErrNotFound) {
			if err := rm.host.proveEnded(ctx, m); err != nil {
				return err
			}
		}
	}
	if err := rm.removal(c.UUID, c.Name, member, report).run(ctx); err != nil {
		return err
	}
	reservation := reservationName(memberTag(c, member))
	return rm.networks.release(ctx, networkName(c.Spec), func(n string) bool { return n == reservation })
}

// removeShared removes a leftover builder, and the network if pgapp made it for
// this cluster and no other domain uses it.
func (rm *remover) removeShared(ctx context.Context, c appliance.Cluster, report appliance.Report) error {
	if err := rm.removeMachine(ctx, c, builder, report); err != nil {
		return err
	}
	if err := rm.removal(c.UUID, c.Name, "", report).run(ctx); err != nil {
		return err
	}
	return rm.networks.removeOwnNetwork(ctx, networkName(c.Spec), c.UUID)
}

// sharedRemoved tells whether removeShared has nothing left to do.
func (rm *remover) sharedRemoved(ctx context.Context, c appliance.Cluster) (bool, error) {
	if gone, err := rm.machineRemoved(ctx, c, builder); err != nil || !gone {
		return false, err
	}
	if ds, err := rm.machines.domainsOf(ctx, c.UUID, ""); err != nil || len(ds) > 0 {
		return false, err
	}
	if vols, seen, err := rm.disks.clusterVolumes(ctx, c.UUID, c.Name, ""); err != nil || !seen || len(vols) > 0 {
		return false, err
	}
	return rm.networks.ownNetworkGone(ctx, networkName(c.Spec), c.UUID)
}

// ownNetworkGone tells whether removeOwnNetwork has nothing left to do.
func (ns *networks) ownNetworkGone(ctx context.Context, name, uuid string) (bool, error) {
	n, err := ns.virt.Network(ctx, name)
	if errors.Is(err, rpc.ErrNotFound) {
		return true, nil
	}
	if t, ours := networkTag(n.XML); err != nil || !ours || t.UUID != uuid {
		return err == nil, err
	}
	return ns.networkUsed(ctx, n.Name)
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
// cluster's UUID, and the network that pgapp made for the cluster. It needs no
// record of the cluster, whose home may be lost. It reports each removal. A
// repeat does nothing.
func (p *Provider) DestroyByTag(ctx context.Context, uuid string, report appliance.Report) error {
	if len(uuid) < shortUUID {
		return appliance.NewProblem(appliance.ErrUsage, "%q is not a cluster's UUID", uuid)
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
	if err := p.remover.removal(uuid, "", "", report).run(ctx); err != nil {
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
