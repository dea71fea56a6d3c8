package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// Pool is a storage pool.
type Pool struct {
	Name   string
	XML    libvirtxml.StoragePool
	Active bool
	// Free is the free space of the pool's file system, in bytes.
	Free uint64
}

// Volume is a storage volume.
type Volume struct {
	Name string
	Path string
	// Physical is the size of the file, Capacity the size of the disk that a
	// guest sees, both in bytes.
	Physical uint64
	Capacity uint64
	// Backing is the path of the backing volume of a linked clone.
	Backing string
}

// Pool looks up a pool, or returns ErrNotFound.
func (c storageCalls) Pool(ctx context.Context, name string) (Pool, error) {
	p := Pool{Name: name}
	err := c.ask(ctx, fmt.Sprintf("looking up storage pool %q", name), func(v *golibvirt.Libvirt) error {
		pool, err := v.StoragePoolLookupByName(name)
		if err != nil {
			return err
		}
		text, err := v.StoragePoolGetXMLDesc(pool, 0)
		if err != nil {
			return err
		}
		if err := p.XML.Unmarshal(text); err != nil {
			return fmt.Errorf("reading the definition of pool %q: %w", name, err)
		}
		state, _, _, free, err := v.StoragePoolGetInfo(pool)
		p.Active, p.Free = golibvirt.StoragePoolState(state) == golibvirt.StoragePoolRunning, free
		return err
	})
	return p, err
}

// DefinePool defines a pool and creates its directory. A repeat is safe.
func (c storageCalls) DefinePool(ctx context.Context, x libvirtxml.StoragePool) error {
	text, err := x.Marshal()
	if err != nil {
		return fmt.Errorf("encoding pool %q: %w", x.Name, err)
	}
	return c.call(ctx, fmt.Sprintf("defining storage pool %q", x.Name), func(v *golibvirt.Libvirt) error {
		pool, err := v.StoragePoolDefineXML(text, 0)
		if err != nil {
			return err
		}
		return v.StoragePoolBuild(pool, golibvirt.StoragePoolBuildNew)
	})
}

// StartPool starts a pool, which reads its directory. A repeat does nothing.
func (c storageCalls) StartPool(ctx context.Context, name string) error {
	return c.call(ctx, fmt.Sprintf("starting storage pool %q", name), func(v *golibvirt.Libvirt) error {
		pool, err := v.StoragePoolLookupByName(name)
		if err != nil {
			return err
		}
		active, err := v.StoragePoolIsActive(pool)
		if err != nil || active == 1 {
			return err
		}
		return v.StoragePoolCreate(pool, golibvirt.StoragePoolCreateNormal)
	})
}

func (c storageCalls) withVolume(ctx context.Context, doing, pool, name string, fn func(*golibvirt.Libvirt, golibvirt.StorageVol) error) error {
	return c.call(ctx, fmt.Sprintf("%s volume %q", doing, name), func(v *golibvirt.Libvirt) error {
		vol, err := findVolume(v, pool, name)
		if err != nil {
			return err
		}
		return fn(v, vol)
	})
}

func findVolume(v *golibvirt.Libvirt, pool, name string) (golibvirt.StorageVol, error) {
	p, err := v.StoragePoolLookupByName(pool)
	if err != nil {
		return golibvirt.StorageVol{}, err
	}
	return v.StorageVolLookupByName(p, name)
}

// Volume looks up a volume, or returns ErrNotFound.
func (c storageCalls) Volume(ctx context.Context, pool, name string) (Volume, error) {
	var out Volume
	err := c.withVolume(ctx, "looking up", pool, name, func(v *golibvirt.Libvirt, vol golibvirt.StorageVol) (err error) {
		out, err = describeVolume(v, vol)
		return err
	})
	return out, err
}

// Volumes refreshes the pool and lists its volumes.
func (c storageCalls) Volumes(ctx context.Context, pool string) ([]Volume, error) {
	var out []Volume
	err := c.call(ctx, fmt.Sprintf("listing the volumes of pool %q", pool), func(v *golibvirt.Libvirt) error {
		p, err := v.StoragePoolLookupByName(pool)
		if err != nil {
			return err
		}
		vols, _, err := v.StoragePoolListAllVolumes(p, 1, 0)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, vol := range vols {
			d, err := describeVolume(v, vol)
			if err == nil {
				out = append(out, d)
			} else if !golibvirt.IsNotFound(err) && !isCode(err, golibvirt.ErrNoStorageVol) {
				return err
			}
		}
		return nil
	})
	return out, err
}

func describeVolume(v *golibvirt.Libvirt, vol golibvirt.StorageVol) (Volume, error) {
	out := Volume{Name: vol.Name, Path: vol.Key}
	text, err := v.StorageVolGetXMLDesc(vol, 0)
	if err != nil {
		return out, err
	}
	var x libvirtxml.StorageVolume
	if err := x.Unmarshal(text); err != nil {
		return out, fmt.Errorf("reading the definition of volume %q: %w", vol.Name, err)
	}
	if x.Target != nil {
		out.Path = x.Target.Path
	}
	if x.BackingStore != nil {
		out.Backing = x.BackingStore.Path
	}
	if x.Capacity != nil {
		out.Capacity = x.Capacity.Value
	}
	if x.Physical != nil {
		out.Physical = x.Physical.Value
	}
	return out, nil
}

// CreateVolume creates a volume, or returns ErrExists.
func (c storageCalls) CreateVolume(ctx context.Context, pool string, x libvirtxml.StorageVolume) error {
	text, err := x.Marshal()
	if err != nil {
		return fmt.Errorf("encoding volume %q: %w", x.Name, err)
	}
	return c.call(ctx, fmt.Sprintf("creating volume %q", x.Name), func(v *golibvirt.Libvirt) error {
		p, err := v.StoragePoolLookupByName(pool)
		if err != nil {
			return err
		}
		_, err = v.StorageVolCreateXML(p, text, 0)
		return err
	})
}

// Upload fills a volume with size bytes from r, over a connection of its own.
// After an error the volume's content is undefined.
func (c storageCalls) Upload(ctx context.Context, pool, name string, r io.Reader, size int64) error {
	return c.once(ctx, fmt.Sprintf("uploading volume %q", name), func(v *golibvirt.Libvirt) error {
		vol, err := findVolume(v, pool, name)
		if err != nil {
			return err
		}
		// A failing reader must not become a short but successful upload.
		full := &fullReader{r: r, left: size}
		err = v.StorageVolUpload(vol, full, 0, uint64(size), 0)
		if failed := full.failed.Load(); failed != nil {
			return *failed
		}
		return err
	})
}

// fullReader fills every buffer and fails if the data ends early.
type fullReader struct {
	r    io.Reader
	left int64
	// failed is the reader's error. It is atomic because go-libvirt may still
	// read after the upload has failed.
	failed atomic.Pointer[error]
}

func (f *fullReader) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.left)]
	n, err := io.ReadFull(f.r, p)
	f.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("reading what is uploaded: %w", err)
		f.failed.Store(&err)
		return n, err
	}
	return n, nil
}

// DeleteVolume removes a volume. An absent volume is no error. For a volume that
// is being created or filled, the error is ErrBusy.
func (c storageCalls) DeleteVolume(ctx context.Context, pool, name string) error {
	err := c.withVolume(ctx, "removing", pool, name, func(v *golibvirt.Libvirt, vol golibvirt.StorageVol) error {
		return v.StorageVolDelete(vol, golibvirt.StorageVolDeleteNormal)
	})
	if errors.Is(err, ErrInactive) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return ignoreAbsent(err)
}

// RefreshPool makes libvirt reread the pool's directory.
func (c storageCalls) RefreshPool(ctx context.Context, name string) error {
	return c.call(ctx, fmt.Sprintf("refreshing storage pool %q", name), func(v *golibvirt.Libvirt) error {
		p, err := v.StoragePoolLookupByName(name)
		if err != nil {
			return err
		}
		return v.StoragePoolRefresh(p, 0)
	})
}

func isCode(err error, code golibvirt.ErrorNumber) bool {
	var e golibvirt.Error
	return errors.As(err, &e) && golibvirt.ErrorNumber(e.Code) == code
}

// Download returns the volume's content, or the last limit bytes of a larger
// volume.
func (c storageCalls) Download(ctx context.Context, pool, name string, limit uint64) ([]byte, error) {
	var out bytes.Buffer
	err := c.withVolume(ctx, "reading", pool, name, func(v *golibvirt.Libvirt, vol golibvirt.StorageVol) error {
		d, err := describeVolume(v, vol)
		if err != nil {
			return err
		}
		var from uint64
		if d.Physical > limit {
			from = d.Physical - limit
		}
		out.Reset()
		return v.StorageVolDownload(vol, &out, from, 0, 0)
	})
	return out.Bytes(), err
}

// ReadVolume copies a whole volume to w. After an error, w may have received part
// of the volume.
func (c storageCalls) ReadVolume(ctx context.Context, pool, name string, w io.Writer) error {
	return c.once(ctx, fmt.Sprintf("reading volume %q", name), func(v *golibvirt.Libvirt) error {
		vol, err := findVolume(v, pool, name)
		if err != nil {
			return err
		}
		return v.StorageVolDownload(vol, w, 0, 0, 0)
	})
}
