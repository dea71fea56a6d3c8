package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// removal removes what a cluster has: one member's, or everything where member
// is empty; whatever the cluster is called where cluster is.
type removal struct {
	machines              *machines
	disks                 *disks
	uuid, cluster, member string
	report                appliance.Report
}

// run ends the domains, removes their volumes, and forgets the domains last, so
// that a repeat still knows which files were their disks. Nothing is ended where
// something else leans on a volume.
func (r removal) run(ctx context.Context) error {
	ds, err := r.machines.domainsOf(ctx, r.uuid, r.member)
	if err != nil {
		return err
	}
	vols, err := r.volumes(ctx, ds)
	if err != nil {
		return err
	}
	for _, d := range ds {
		r.report(appliance.Progress{Detail: "removing domain " + d.Name})
		if err := r.machines.end(ctx, d); err != nil {
			return err
		}
	}
	for _, v := range vols {
		r.report(appliance.Progress{Detail: "removing volume " + v.Name})
		if err := r.disks.deleteWhenIdle(ctx, v.Name); err != nil {
			return err
		}
	}
	for _, d := range ds {
		r.sayKept(d, vols)
		if err := r.machines.undefine(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// sayKept names the disks of a domain that pgapp didn't make, and keeps.
func (r removal) sayKept(d rpc.Domain, removed []rpc.Volume) {
	for _, f := range diskFiles(d) {
		name := strings.TrimPrefix(f, poolPath+"/")
		// One of ours that isn't there was removed before, as the seed is after a
		// start that failed.
		ours := volumeOf(name, r.uuid, r.cluster, r.member) || slices.ContainsFunc(removed, func(v rpc.Volume) bool { return v.Path == f })
		if !ours && !isImage(name) {
			r.report(appliance.Progress{Detail: "kept " + f + ", a disk of domain " + d.Name + " that pgapp didn't make"})
		}
	}
}

// volumes are those to remove: by their names, and what grew on these as a disk
// of the domains, as a snapshot's overlay does. It is an error where anything
// else leans on them, or the pool can't be looked at.
func (r removal) volumes(ctx context.Context, ds []rpc.Domain) ([]rpc.Volume, error) {
	there, err := r.disks.openPool(ctx)
	if err != nil || !there {
		return nil, err
	}
	// libvirt doesn't know of the console's log otherwise. Refused while
	// something is uploaded; that isn't the console's log.
	refreshed := r.disks.refresh(ctx)
	vols, _, err := r.disks.clusterVolumes(ctx, r.uuid, r.cluster, r.member)
	if err != nil {
		return nil, errors.Join(err, refreshed)
	}
	leans, err := r.disks.leans(ctx)
	if err != nil {
		return nil, err
	}
	ours := func(l rpc.Lean) bool {
		return slices.ContainsFunc(ds, func(d rpc.Domain) bool { return d.UUID == l.UUID })
	}
	if vols, err = r.overlays(ctx, vols, leans, ours); err != nil {
		return nil, err
	}
	disks := map[string]bool{} // of the domains only, wherever they lie
	for _, l := range leans {
		if ours(l) {
			disks[l.File] = true
		}
	}
	for _, l := range leans {
		if l.Domain != "" && !ours(l) {
			delete(disks, l.File)
		}
	}
	needed := leaners(leans, paths(vols), func(l rpc.Lean) bool {
		return l.Domain != "" && ours(l) || l.Volume != "" && (disks[l.Volume] || slices.Contains(paths(vols), l.Volume))
	})
	if len(needed) > 0 {
		return nil, neededProblem("the disk isn't removed", needed[0])
	}
	return vols, nil
}

// overlays adds the pool's volumes that lean on one of vols and that only the
// domains have as a disk.
func (r removal) overlays(ctx context.Context, vols []rpc.Volume, leans []rpc.Lean, ours func(rpc.Lean) bool) ([]rpc.Volume, error) {
	all, err := r.disks.volumes(ctx)
	if err != nil {
		return nil, err
	}
	for again := true; again; {
		again = false
		for _, v := range all {
			if v.Backing == "" || !slices.Contains(paths(vols), v.Backing) || slices.Contains(paths(vols), v.Path) {
				continue
			}
			used := leaners(leans, []string{v.Path}, func(l rpc.Lean) bool { return l.Domain == "" })
			if len(used) > 0 && !slices.ContainsFunc(used, func(l rpc.Lean) bool { return !ours(l) }) {
				vols, again = append(vols, v), true
			}
		}
	}
	return vols, nil
}

func paths(vols []rpc.Volume) []string {
	var out []string
	for _, v := range vols {
		out = append(out, v.Path)
	}
	return out
}

// end ends the domain at once. A repeat does nothing.
func (mc *machines) end(ctx context.Context, d rpc.Domain) error {
	return mc.virt.DestroyDomain(ctx, d.UUID)
}

// undefine makes libvirt forget the domain. A repeat does nothing.
func (mc *machines) undefine(ctx context.Context, d rpc.Domain) error {
	return mc.virt.UndefineDomain(ctx, d.UUID)
}

// domainsOf lists the cluster's domains, under whatever names, or one member's.
func (mc *machines) domainsOf(ctx context.Context, uuid, member string) ([]rpc.Domain, error) {
	all, err := mc.virt.Domains(ctx)
	return slices.DeleteFunc(all, func(d rpc.Domain) bool {
		t, ok := owned(d, uuid)
		return !ok || member != "" && t.Member != member
	}), err
}

// clusterVolumes lists the cluster's volumes, or one member's, by their names.
// seen is false where there may be some that libvirt doesn't show, since it has
// no such pool, or the pool isn't active.
func (ds *disks) clusterVolumes(ctx context.Context, uuid, cluster, member string) (vols []rpc.Volume, seen bool, err error) {
	pool, err := ds.virt.Pool(ctx, poolName)
	if err == nil && ownPool(pool) {
		if !pool.Active {
			return nil, false, nil
		}
		vols, err = ds.virt.Volumes(ctx, poolName)
		return slices.DeleteFunc(vols, func(v rpc.Volume) bool { return !volumeOf(v.Name, uuid, cluster, member) }), err == nil, err
	}
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return nil, false, err
	}
	return nil, !poolThere(ds.cfg.Host.Files), nil
}

// openPool has libvirt show what the pool's directory holds: a pool that was
// undefined is defined again. there is false where nothing can be in it, since
// there is no such directory.
func (ds *disks) openPool(ctx context.Context) (there bool, err error) {
	pool, err := ds.virt.Pool(ctx, poolName)
	switch {
	case err != nil && !errors.Is(err, rpc.ErrNotFound):
		return false, err
	case (err != nil || !ownPool(pool)) && !poolThere(ds.cfg.Host.Files):
		return false, nil
	}
	return true, ds.ensurePool(ctx)
}
