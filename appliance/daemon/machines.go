package daemon

import (
	"context"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/provisioner/libvirt"
	"pgapp/provisioner/libvirt/image"
	"pgapp/store"
)

// machines lets the API use the provider of virtual machines.
type machines struct {
	ctl *control.Controller
	st  *store.Store
	vp  *libvirt.Provider
}

// machinesOf is nil where there is no such provider.
func machinesOf(ctl *control.Controller, st *store.Store, providers map[appliance.ProviderKind]appliance.Provider) api.Machines {
	if vp, ok := providers[appliance.ProviderLibvirt].(*libvirt.Provider); ok {
		return machines{ctl, st, vp}
	}
	return nil
}

// Images implements api.Machines: the images of the catalogue, then other kept ones.
func (m machines) Images(context.Context) ([]api.ImageEntry, error) {
	kept, err := m.vp.Images().List()
	if err != nil {
		return nil, err
	}
	var out []api.ImageEntry
	known := map[string]bool{}
	for _, i := range image.Catalogue() {
		known[i.Name] = true
		e := api.ImageEntry{Name: i.Name, Digest: i.Digest, URL: i.URL, Kept: "absent"}
		for _, k := range kept {
			if k.Digest == i.Digest {
				e = wireImage(k)
				e.Name, e.URL = i.Name, i.URL
			}
		}
		out = append(out, e)
	}
	for _, k := range kept {
		if !known[k.Name] {
			out = append(out, wireImage(k))
		}
	}
	return out, nil
}

func wireImage(e image.Entry) api.ImageEntry {
	kept := "kept"
	if e.Partial {
		kept = "partial"
	}
	return api.ImageEntry{Name: e.Name, Digest: e.Digest, Kept: kept, Bytes: e.Bytes, ModifiedAt: &e.Modified}
}

// KeepImage implements api.Machines.
func (m machines) KeepImage(ctx context.Context, req api.ImageRequest, report appliance.Report) (api.ImageEntry, error) {
	source, name := req.Source, req.Name
	if source == "" {
		source, name = req.Name, "" // the catalogue's own
	}
	i, err := image.Find(source, req.Digest)
	if err != nil {
		return api.ImageEntry{}, err
	}
	detail := "copying " + i.File
	if i.URL != "" {
		detail = "fetching " + i.URL
	}
	e, err := m.vp.Images().Keep(ctx, i, name, func(done, total int64) {
		report(appliance.Progress{Detail: detail, BytesDone: done, BytesTotal: total})
	})
	return wireImage(e), err
}

// RemoveImage implements api.Machines.
func (m machines) RemoveImage(_ context.Context, name string) error {
	return m.vp.Images().Remove(name)
}

// PruneImages implements api.Machines. An operation may be about to use an image
// that no machine uses yet, so no operation may run.
func (m machines) PruneImages(ctx context.Context) (api.PrunedImages, error) {
	var out api.PrunedImages
	err := m.ctl.Alone(ctx, control.ActPrune, func(ctx context.Context) error {
		pruned, err := m.vp.PruneImages(ctx)
		for _, i := range pruned {
			out.Removed = append(out.Removed, api.PrunedImage{Name: i.Name, Bytes: int64(i.Bytes)})
		}
		return err
	})
	return out, err
}

// Login implements api.Machines.
func (m machines) Login(ctx context.Context, cluster, member string) (api.GuestLogin, error) {
	c, one, err := m.find(ctx, cluster, member)
	if err != nil {
		return api.GuestLogin{}, err
	}
	l, err := m.vp.Login(ctx, c, one)
	return api.GuestLogin{Host: l.Host, Port: l.Port, User: l.User, Key: l.Key.Reveal(), HostKey: l.HostKey}, err
}

// Use implements api.Machines.
func (m machines) Use(ctx context.Context, cluster, member string) (api.MachineUse, error) {
	c, one, err := m.find(ctx, cluster, member)
	if err != nil {
		return api.MachineUse{}, err
	}
	used, err := m.vp.ProcessorTime(ctx, c, one)
	return api.MachineUse{ProcessorSeconds: used.Seconds()}, err
}

func (m machines) find(ctx context.Context, cluster, member string) (appliance.Cluster, appliance.Member, error) {
	c, err := m.st.Cluster(ctx, cluster)
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", cluster).WithHint("pgapp up --cluster %s", cluster)
	}
	if err != nil {
		return c, appliance.Member{}, err
	}
	for _, one := range c.Members {
		if one.Name == member {
			return c, one, nil
		}
	}
	return c, appliance.Member{}, appliance.NoMember(cluster, member)
}

// DestroyByTag implements api.Machines. A cluster of this home is removed
// through its record instead.
func (m machines) DestroyByTag(ctx context.Context, uuid string, report appliance.Report) error {
	all, err := m.st.Clusters(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.UUID == uuid {
			return appliance.NewProblem(appliance.ErrConflict, "the UUID is that of cluster %q, which is on record here", c.Name).
				WithHint("remove it by its name: pgapp down --cluster %s --volumes", c.Name)
		}
	}
	return m.vp.DestroyByTag(ctx, uuid, report)
}
