package libvirt

import (
	"context"
	"path"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/image"
	"pgapp/provisioner/libvirt/rpc"
)

// An image without a marker is made again, unless a disk depends on it: then
// the image was complete once, and somebody removed its marker. Such an image
// is kept, and gets its marker back if its content matches its name.

// adoptBase restores the marker of a base that disks depend on. ok is false if
// the base has to be uploaded.
func (im *imaging) adoptBase(ctx context.Context, digest string, report appliance.Report) (ok bool, err error) {
	name := baseName(digest)
	release, err := im.turns.turn(ctx, name)
	if err != nil {
		return false, err
	}
	defer release()
	v, ok, err := im.disks.complete(ctx, name)
	if err != nil || ok || v.Path == "" {
		return ok, err
	}
	by, err := im.disks.usersOf(ctx, v)
	if err != nil || len(by) == 0 {
		return false, err
	}
	report(appliance.Progress{Detail: "checking the image in pool " + poolName})
	if err := im.checkBase(ctx, digest); err != nil {
		if appliance.IsProblem(err, appliance.ErrImageDigest) {
			return false, neededProblem("volume "+name+" doesn't have the digest in its name, and can't be uploaded again", by[0])
		}
		return false, err
	}
	return true, im.disks.markComplete(ctx, name)
}

// proveBase refuses to build a golden image from a base whose digest differs
// from its name. If no disk depends on the base, proveBase removes it, so that
// the next attempt uploads it again.
func (im *imaging) proveBase(ctx context.Context, digest string, base rpc.Volume, report appliance.Report) error {
	report(appliance.Progress{Detail: "checking the image in pool " + poolName})
	wrong := im.checkBase(ctx, digest)
	if !appliance.IsProblem(wrong, appliance.ErrImageDigest) {
		return wrong
	}
	by, err := im.disks.usersOf(ctx, base)
	if err != nil {
		return err
	}
	if len(by) > 0 {
		return neededProblem("volume "+base.Name+" doesn't have the digest in its name, and can't be uploaded again", by[0])
	}
	if err := im.disks.dropVolume(ctx, base.Name); err != nil {
		return err
	}
	return appliance.AsProblem(wrong).WithHint("run the same command again: it uploads the image again")
}

// checkBase reads the base volume and compares its digest.
func (im *imaging) checkBase(ctx context.Context, digest string) error {
	check, err := image.NewCheck(digest)
	if err != nil {
		return err
	}
	if err := im.disks.read(ctx, baseName(digest), check); err != nil {
		return err
	}
	return check.Err("in volume " + baseName(digest))
}

// adopt restores the marker of a golden image. Only its clones can prove the
// content: members' disks are cloned from a complete image only.
func (b *build) adopt(ctx context.Context, base string) (ok bool, err error) {
	v, ok, err := b.disks.volume(ctx, b.volume)
	if err != nil || !ok {
		return false, err
	}
	by, err := b.disks.usersOf(ctx, v)
	if err != nil || len(by) == 0 {
		return false, err
	}
	member := slices.ContainsFunc(by, func(l rpc.Lean) bool {
		return strings.HasPrefix(path.Base(l.Volume), prefix) && strings.HasSuffix(l.Volume, "."+volRoot)
	})
	if !member || v.Backing != "" && v.Backing != poolPath+"/"+base {
		return false, neededProblem("volume "+b.volume+" isn't complete, and can't be built again", by[0])
	}
	b.report(appliance.Progress{Detail: "the golden image has lost its marker, but is in use: keeping it"})
	return true, b.disks.markComplete(ctx, b.volume)
}

// usersOf lists the volumes and domains that depend on an image, except
// builders.
func (ds *disks) usersOf(ctx context.Context, v rpc.Volume) ([]rpc.Lean, error) {
	leans, err := ds.leans(ctx)
	if err != nil {
		return nil, err
	}
	all, err := ds.virt.Domains(ctx)
	makes := map[string]bool{}
	for _, d := range all {
		t, ours := domainTag(d.XML)
		makes[d.UUID] = ours && t.Member == builder
	}
	return leaners(leans, []string{v.Path}, func(l rpc.Lean) bool { return l.Domain != "" && makes[l.UUID] }), err
}
