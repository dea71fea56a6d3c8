package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// poolName is our pool's name. The pool lies where AppArmor and SELinux
	// expect disks.
	poolName = "pgapp"
	poolPath = "/var/lib/libvirt/images/pgapp"
	// readySuffix names the empty volume that says that another is complete.
	readySuffix = ".ready"
)

// ensurePool defines and starts the pool. A pool of that name over another
// directory isn't ours.
func (ds *disks) ensurePool(ctx context.Context) error {
	release, err := ds.turns.turn(ctx, "the pool")
	if err != nil {
		return err
	}
	defer release()
	pool, err := ds.virt.Pool(ctx, poolName)
	switch {
	case errors.Is(err, rpc.ErrNotFound):
		err = ds.virt.DefinePool(ctx, libvirtxml.StoragePool{
			Type: "dir", Name: poolName,
			Target: &libvirtxml.StoragePoolTarget{Path: poolPath, Permissions: &libvirtxml.StoragePoolTargetPermissions{Mode: "0711"}},
		})
		if err != nil {
			return err
		}
	case err != nil:
		return err
	case !ownPool(pool):
		return appliance.NewProblem(appliance.ErrForeignObject, "storage pool %q exists, and pgapp did not make it", poolName).
			WithHint("see 'virsh pool-dumpxml %s'; pgapp's pool is %s", poolName, poolPath)
	}
	return ds.virt.StartPool(ctx, poolName)
}

// pool looks the pool up.
func (ds *disks) pool(ctx context.Context) (rpc.Pool, error) { return ds.virt.Pool(ctx, poolName) }

// startPool starts the pool. A repeat does nothing.
func (ds *disks) startPool(ctx context.Context) error { return ds.virt.StartPool(ctx, poolName) }

// refresh lets libvirt see files that appeared in the pool or left it. libvirt
// refuses while something is uploaded.
func (ds *disks) refresh(ctx context.Context) error { return ds.virt.RefreshPool(ctx, poolName) }

// volumes lists the pool's volumes.
func (ds *disks) volumes(ctx context.Context) ([]rpc.Volume, error) {
	return ds.virt.Volumes(ctx, poolName)
}

// read writes a volume's content to w.
func (ds *disks) read(ctx context.Context, name string, w io.Writer) error {
	return ds.virt.ReadVolume(ctx, poolName, name, w)
}

func ownPool(pool rpc.Pool) bool {
	return pool.XML.Type == "dir" && pool.XML.Target != nil && pool.XML.Target.Path == poolPath
}

// volume looks a volume of the pool up; ok is false if the volume or the pool
// doesn't exist.
func (ds *disks) volume(ctx context.Context, name string) (v rpc.Volume, ok bool, err error) {
	v, err = ds.virt.Volume(ctx, poolName, name)
	if errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrInactive) {
		return v, false, nil
	}
	return v, err == nil, err
}

// complete tells whether the volume and its marker exist.
func (ds *disks) complete(ctx context.Context, name string) (rpc.Volume, bool, error) {
	v, ok, err := ds.volume(ctx, name)
	if err != nil || !ok {
		return v, false, err
	}
	_, ok, err = ds.volume(ctx, name+readySuffix)
	return v, ok, err
}

// markComplete makes the marker.
func (ds *disks) markComplete(ctx context.Context, name string) error {
	err := ds.virt.CreateVolume(ctx, poolName, rawVolume(name+readySuffix, 0))
	if errors.Is(err, rpc.ErrExists) {
		return nil
	}
	return err
}

// dropVolume removes the marker before the volume, so that an incomplete volume
// never has a marker.
func (ds *disks) dropVolume(ctx context.Context, name string) error {
	for _, n := range []string{name + readySuffix, name} {
		if err := ds.deleteWhenIdle(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// deleteWhenIdle deletes a volume. It waits while libvirt still holds a
// cancelled upload of ours.
func (ds *disks) deleteWhenIdle(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	var last error
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		last = ds.virt.DeleteVolume(ctx, poolName, name)
		switch {
		case errors.Is(last, rpc.ErrBusy):
			return false, nil
		case errors.Is(last, rpc.ErrNotFound), errors.Is(last, rpc.ErrInactive):
			return true, nil
		}
		return last == nil, last
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

func rawVolume(name string, size uint64) libvirtxml.StorageVolume {
	return libvirtxml.StorageVolume{
		Name:       name,
		Capacity:   &libvirtxml.StorageVolumeSize{Value: size, Unit: "bytes"},
		Allocation: &libvirtxml.StorageVolumeSize{Value: 0, Unit: "bytes"},
		Target: &libvirtxml.StorageVolumeTarget{
			Format:      &libvirtxml.StorageVolumeTargetFormat{Type: "raw"},
			Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: "0600"},
		},
	}
}

// linkedClone is a qcow2 volume on top of another one.
func linkedClone(name string, on rpc.Volume, capacity uint64) libvirtxml.StorageVolume {
	v := rawVolume(name, max(capacity, on.Capacity))
	v.Target.Format.Type = "qcow2"
	v.Target.Compat = "1.1"
	v.BackingStore = &libvirtxml.StorageVolumeBackingStore{
		Path: on.Path, Format: &libvirtxml.StorageVolumeTargetFormat{Type: "qcow2"},
	}
	return v
}

// ensureClone makes the linked clone unless it exists. An existing clone of
// another image is returned as it is.
func (ds *disks) ensureClone(ctx context.Context, name string, on rpc.Volume, capacity uint64) (rpc.Volume, error) {
	err := ds.virt.CreateVolume(ctx, poolName, linkedClone(name, on, capacity))
	if err != nil && !errors.Is(err, rpc.ErrExists) {
		return rpc.Volume{}, err
	}
	return ds.virt.Volume(ctx, poolName, name)
}

// upload makes the volume again and fills it. It checks that the volume has the
// size that was sent.
func (ds *disks) upload(ctx context.Context, v libvirtxml.StorageVolume, r io.Reader, size int64) error {
	if err := ds.dropVolume(ctx, v.Name); err != nil {
		return err
	}
	if err := ds.virt.CreateVolume(ctx, poolName, v); err != nil {
		return err
	}
	if err := ds.virt.Upload(ctx, poolName, v.Name, r, size); err != nil {
		// A partial volume would use disk space until the next attempt.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyLimit)
		defer cancel()
		return errors.Join(err, ds.dropVolume(clean, v.Name))
	}
	got, err := ds.virt.Volume(ctx, poolName, v.Name)
	if err != nil {
		return err
	}
	if got.Physical < uint64(size) {
		return appliance.NewProblem(appliance.ErrLibvirt, "volume %q has %d bytes after an upload of %d", v.Name, got.Physical, size)
	}
	return nil
}

// progressReader reports how far an upload is.
type progressReader struct {
	r      io.Reader
	done   int64
	total  int64
	detail string
	report appliance.Report
}

// Read counts what passes.
func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.done += int64(n)
	p.report(appliance.Progress{Detail: p.detail, BytesDone: p.done, BytesTotal: p.total})
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s: %w", p.detail, err)
	}
	return n, err
}
