package libvirt

import (
	"context"
	"path"
	"slices"

	"libvirt.org/go/libvirtxml"

	"pgapp/provisioner/libvirt/rpc"
)

func (f *fake) fileThere(file string) bool {
	if path.Dir(file) != poolPath {
		return f.files[file]
	}
	_, ok := f.volumes[path.Base(file)]
	return ok
}

// Definition gives the text back as it was given, as libvirt does for all that
// it knows.
func (f *fake) Definition(_ context.Context, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return "", rpc.ErrNotFound
	}
	if text, ok := f.texts[d.Name]; ok {
		return text, nil
	}
	return d.XML.Marshal()
}

func (f *fake) RedefineDomain(ctx context.Context, _, text string) error {
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return err
	}
	var targets []string
	for _, d := range x.Devices.Disks {
		if slices.Contains(targets, d.Target.Dev) {
			return rpc.ErrExists
		}
		targets = append(targets, d.Target.Dev)
	}
	if err := f.DefineDomain(ctx, x); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts[x.Name] = text
	return nil
}

func (f *fake) LiveDomain(_ context.Context, name string) (libvirtxml.Domain, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	switch {
	case !ok:
		return libvirtxml.Domain{}, rpc.ErrNotFound
	case d.State.Off():
		return d.XML, nil
	}
	return f.live[d.Name], nil
}

// DetachDisk does what the guest is asked for at once.
func (f *fake) DetachDisk(_ context.Context, domain, file string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(domain)
	if !ok {
		return rpc.ErrNotFound
	}
	without := func(x libvirtxml.Domain) libvirtxml.Domain {
		if x.Devices == nil {
			return x
		}
		devices := *x.Devices
		devices.Disks = slices.DeleteFunc(slices.Clone(devices.Disks), func(d libvirtxml.DomainDisk) bool { return rpc.SourceOf(d) == file })
		x.Devices = &devices
		return x
	}
	d.XML, f.live[d.Name] = without(d.XML), without(f.live[d.Name])
	delete(f.texts, d.Name)
	return nil
}

func (f *fake) DiskThere(_ context.Context, domain, target string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(domain)
	if !ok {
		return false, rpc.ErrNotFound
	}
	for _, disk := range d.XML.Devices.Disks {
		if disk.Target.Dev == target {
			return f.fileThere(rpc.SourceOf(disk)), nil
		}
	}
	return false, rpc.ErrNotFound
}

func (f *fake) volumeAt(domain, target string) (rpc.Volume, error) {
	d, ok := f.find(domain)
	if !ok {
		return rpc.Volume{}, rpc.ErrNotFound
	}
	for _, disk := range d.XML.Devices.Disks {
		if v, ok := f.volumes[path.Base(rpc.SourceOf(disk))]; ok && disk.Target.Dev == target {
			return v, nil
		}
	}
	return rpc.Volume{}, rpc.ErrNotFound
}

func (f *fake) DiskSize(_ context.Context, domain, target string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.volumeAt(domain, target)
	return v.Capacity, err
}

func (f *fake) ResizeDisk(_ context.Context, domain, target string, size uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.volumeAt(domain, target)
	if err != nil {
		return err
	}
	d, _ := f.find(domain)
	if d.State.Off() {
		return rpc.ErrInactive
	}
	v.Capacity = size
	f.volumes[v.Name] = v
	return nil
}

func (f *fake) ResumeDomain(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	switch {
	case !ok:
		return rpc.ErrNotFound
	case d.State != rpc.DomainPaused:
		return rpc.ErrInactive
	}
	d.State, d.Reason = rpc.DomainRunning, 0
	return nil
}

func (f *fake) ShutdownDomain(ctx context.Context, name string) error {
	f.mu.Lock()
	f.pressed++
	d, ok := f.find(name)
	deaf := f.deaf
	paused := ok && d.State == rpc.DomainPaused
	f.mu.Unlock()
	if deaf || paused {
		return nil
	}
	return f.DestroyDomain(ctx, name)
}
