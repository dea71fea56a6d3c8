package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/image"
	"pgapp/provisioner/libvirt/rpc"
)

// digestLength is how much of a digest names carry.
const digestLength = 16

func shortDigest(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), digestLength)]
}

func baseName(digest string) string { return "base-" + shortDigest(digest) + ".qcow2" }

// fetchImage stores the spec's image on this machine, and verifies its digest.
func (im *imaging) fetchImage(ctx context.Context, s appliance.Spec, report appliance.Report) (path, digest string, err error) {
	i, err := im.images.Find(s.Image, s.ImageDigest)
	if err != nil {
		return "", "", err
	}
	detail := "reading the image"
	if i.URL != "" {
		detail = "fetching " + i.URL
	}
	return im.images.Ensure(ctx, i, func(done, total int64) {
		report(appliance.Progress{Detail: detail, BytesDone: done, BytesTotal: total})
	})
}

// imageDigest finds the digest of the spec's image without fetching it.
func (im *imaging) imageDigest(ctx context.Context, s appliance.Spec) (string, error) {
	i, err := im.images.Find(s.Image, s.ImageDigest)
	if err != nil {
		return "", err
	}
	return im.images.Digest(ctx, i)
}

// base looks for the complete base volume of the digest.
func (im *imaging) base(ctx context.Context, digest string) (rpc.Volume, bool, error) {
	return im.disks.complete(ctx, baseName(digest))
}

// ensureBase uploads the image into the pool, unless a complete one exists. The
// image is uploaded compressed; a raw image would be many times larger.
func (im *imaging) ensureBase(ctx context.Context, s appliance.Spec, report appliance.Report) error {
	if err := im.disks.ensurePool(ctx); err != nil {
		return err
	}
	if ok, err := im.imageReady(ctx, s); err != nil || ok {
		return err
	}
	if digest, err := im.imageDigest(ctx, s); err == nil {
		if ok, err := im.adoptBase(ctx, digest, report); err != nil || ok {
			return err
		}
	}
	path, digest, err := im.fetchImage(ctx, s, report)
	if err != nil {
		return err
	}
	name := baseName(digest)
	release, err := im.turns.turn(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if _, ok, err := im.base(ctx, digest); err != nil || ok {
		return err
	}
	return im.uploadBase(ctx, path, digest, report)
}

// uploadBase uploads the file as the base of that digest, and verifies the
// digest of the uploaded bytes: a stored image may have changed since it was
// fetched.
func (im *imaging) uploadBase(ctx context.Context, path, digest string, report appliance.Report) error {
	name := baseName(digest)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the image: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at the image: %w", err)
	}
	capacity, err := qcow2Capacity(f)
	if err != nil {
		return fmt.Errorf("reading the image %q: %w", path, err)
	}
	check, err := image.NewCheck(digest)
	if err != nil {
		return err
	}
	v := rawVolume(name, capacity)
	v.Target.Format.Type = "qcow2"
	v.Target.Permissions.Mode = "0644"
	r := &progressReader{r: io.TeeReader(f, check), total: info.Size(), detail: "uploading the image into pool " + poolName, report: report}
	if err := im.disks.upload(ctx, v, r, info.Size()); err != nil {
		return err
	}
	if err := check.Err("in " + path); err != nil {
		return errors.Join(err, im.disks.dropVolume(ctx, name))
	}
	return im.disks.markComplete(ctx, name)
}

// qcow2Capacity reads the size that a guest sees. It refuses a file that isn't
// a qcow2 image, and one that refers to another file, which could be any file
// of the host.
func qcow2Capacity(r io.ReaderAt) (uint64, error) {
	const (
		magic       = 0x514649fb
		versionAt   = 4
		backingAt   = 8
		capacityAt  = 24
		featuresAt  = 72
		header      = 80
		dataFileBit = 1 << 2
	)
	b := make([]byte, header)
	_, err := r.ReadAt(b, 0)
	if program := compressedBy(b); program != "" {
		return 0, appliance.NewProblem(appliance.ErrImageDigest, "the image is a file that %s compressed", program).
			WithHint("unpack it first: %s -d -k IMAGE", program)
	}
	if err != nil || binary.BigEndian.Uint32(b) != magic {
		return 0, appliance.NewProblem(appliance.ErrImageDigest, "the image isn't in qcow2 format").
			WithHint("convert it: qemu-img convert -O qcow2 IMAGE IMAGE.qcow2")
	}
	external := binary.BigEndian.Uint32(b[versionAt:]) >= 3 && binary.BigEndian.Uint64(b[featuresAt:])&dataFileBit != 0
	if binary.BigEndian.Uint64(b[backingAt:]) != 0 || external {
		return 0, appliance.NewProblem(appliance.ErrImageDigest, "the image refers to another file").
			WithHint("make it one whole: qemu-img convert -O qcow2 IMAGE IMAGE.qcow2")
	}
	return binary.BigEndian.Uint64(b[capacityAt:]), nil
}

// compressedBy names the program that compressed a file, by the file's first
// bytes.
func compressedBy(head []byte) string {
	for program, magic := range map[string]string{"gzip": "\x1f\x8b", "xz": "\xfd7zXZ\x00", "zstd": "\x28\xb5\x2f\xfd", "bzip2": "BZh"} {
		if strings.HasPrefix(string(head), magic) {
			return program
		}
	}
	return ""
}
