package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pgapp/provisioner/libvirt/rpc"
)

// PrunedImage is a base or golden image that was removed from the pool.
type PrunedImage struct {
	// Name is the volume's.
	Name  string
	Bytes uint64
}

// PruneImages removes the base and golden images from the pool that no machine
// has as its disk and on which no volume leans, in any pool: what an older
// image or recipe left, and what is kept for a cluster to come. One that is
// being filled at the moment stays; one that was, and that an operation is about
// to use, is the caller's to leave alone. A repeat does nothing.
func (p *Provider) PruneImages(ctx context.Context) ([]PrunedImage, error) {
	var out []PrunedImage
	// A base is free once the golden image that leans on it has gone.
	for {
		unused, err := p.disks.unusedImages(ctx)
		if err != nil {
			return out, err
		}
		pruned := 0
		for _, v := range unused {
			gone, err := p.disks.pruneImage(ctx, v.Name)
			if err != nil {
				return out, err
			}
			if gone {
				pruned++
				out = append(out, PrunedImage{Name: v.Name, Bytes: v.Physical})
			}
		}
		if pruned == 0 {
			return out, nil
		}
	}
}

// pruneImage removes one, in a turn in which nobody of this process makes it.
func (ds *disks) pruneImage(ctx context.Context, name string) (gone bool, err error) {
	release, ok := ds.turns.building.TryEnter(name)
	if !ok {
		return false, nil
	}
	defer release()
	// It may have been taken into use since it was listed.
	unused, err := ds.unusedImages(ctx)
	if err != nil || !slices.ContainsFunc(unused, func(v rpc.Volume) bool { return v.Name == name }) {
		return false, err
	}
	for _, n := range []string{name + readySuffix, name} {
		err := ds.virt.DeleteVolume(ctx, poolName, n)
		switch {
		case errors.Is(err, rpc.ErrBusy): // another process fills it
			return false, nil
		case err != nil && !errors.Is(err, rpc.ErrNotFound):
			return false, err
		}
		// Without its marker nobody takes it into use; another home may have
		// done so until now, and adopts it then.
		if used, err := ds.imageUsed(ctx, name); err != nil || used {
			return false, err
		}
	}
	return true, nil
}

func (ds *disks) imageUsed(ctx context.Context, name string) (bool, error) {
	all, err := ds.leans(ctx)
	return len(leaners(all, []string{poolPath + "/" + name}, func(rpc.Lean) bool { return false })) > 0, err
}

func (ds *disks) unusedImages(ctx context.Context) ([]rpc.Volume, error) {
	vols, err := ds.virt.Volumes(ctx, poolName)
	if errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrInactive) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := ds.leans(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(vols, func(v rpc.Volume) bool {
		return !isImage(v.Name) || slices.ContainsFunc(all, func(l rpc.Lean) bool { return l.File == v.Path })
	}), nil
}

// isImage tells what baseName and goldenName name.
func isImage(volume string) bool {
	name, ok := strings.CutSuffix(volume, ".qcow2")
	kind, digest, found := strings.Cut(name, "-")
	return ok && found && (kind == "base" || kind == "golden") && len(digest) == digestLength && strings.Trim(digest, "0123456789abcdef") == ""
}
