package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// leans lists which domains and volumes depend on which files. A domain depends
// on the whole chain below its disks. libvirt reads the header of a disk
// outside of all pools only while its domain runs; leans reads such headers
// itself, as far as this process may.
func (ds *disks) leans(ctx context.Context) ([]rpc.Lean, error) {
	all, err := ds.virt.Leans(ctx)
	if err != nil {
		return nil, err
	}
	below := map[string]string{}
	for _, l := range all {
		if l.Volume != "" {
			below[l.Volume] = l.File
		}
	}
	seen := map[rpc.Lean]bool{}
	for i := 0; i < len(all); i++ { // grows
		l := all[i]
		if l.Domain == "" || seen[l] {
			continue
		}
		seen[l] = true
		next, ok := below[l.File]
		if !ok {
			next = qcow2Backing(ds.cfg.Host.Files, l.File)
		}
		if next != "" {
			all = append(all, rpc.Lean{File: next, Domain: l.Domain, UUID: l.UUID})
		}
	}
	return all, nil
}

// leaners selects the dependants of the files, except those that without
// accepts.
func leaners(all []rpc.Lean, files []string, without func(rpc.Lean) bool) []rpc.Lean {
	return slices.DeleteFunc(slices.Clone(all), func(l rpc.Lean) bool {
		return !slices.Contains(files, l.File) || without(l)
	})
}

// neededProblem refuses to remove or rewrite a file that others depend on.
func neededProblem(what string, by rpc.Lean) error {
	p := appliance.NewProblem(appliance.ErrForeignObject, "%s: %s depends on %s", what, by.By(), by.File)
	if by.Volume != "" {
		return p.WithHint("remove it if it isn't needed (virsh vol-delete %[1]s), or make it independent (qemu-img rebase -b '' %[1]s); then run the same command again", by.Volume)
	}
	return p.WithHint("undefine that domain, or make its disk independent (virsh blockpull %s vda --wait); then run the same command again", by.Domain)
}

// qcow2Backing reads the backing file of a qcow2 file; "" if there is none or
// the file can't be read.
func qcow2Backing(files Files, path string) string {
	const (
		magic     = 0x514649fb
		header    = 20
		longestAt = 1023
	)
	info, err := files.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := files.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, header)
	if _, err := f.ReadAt(b, 0); err != nil || binary.BigEndian.Uint32(b) != magic {
		return ""
	}
	at, size := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
	if at == 0 || at > 1<<30 || size > longestAt {
		return ""
	}
	name := make([]byte, size)
	if _, err := f.ReadAt(name, int64(at)); err != nil {
		return ""
	}
	below := strings.TrimPrefix(string(name), "file:")
	if !filepath.IsAbs(below) {
		below = filepath.Join(filepath.Dir(path), below)
	}
	return below
}

// poolThere tells whether the pool's directory may exist; a directory that
// can't be seen may.
func poolThere(files Files) bool {
	_, err := files.Stat(poolPath)
	return !errors.Is(err, fs.ErrNotExist)
}
