package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// ageIntro begins every age file.
const ageIntro = "age-encryption.org/"

// maxPadding bounds the zeros that tar programs put behind the last entry.
const maxPadding = 1 << 20

// Read opens an archive, sealed or plain, and unpacks it into the new
// directory dest (0700, its files 0600), synced to disk. It appears once
// everything was checked: the seal, the manifest, limits, names, sizes,
// hashes, and that the database is sound and what the manifest says. After an
// error there is nothing. dest must not exist, its parent must.
//
// The problems are archive-invalid, archive-key, store-damaged, store-newer
// and store-full. Whether the state should be taken is for [Manifest.Accept]
// to say, and [pgapp/store.Check] looks deeper into the database.
func Read(ctx context.Context, r io.Reader, keys Keys, dest string, lim Limits) (Manifest, error) {
	if lim == (Limits{}) {
		lim = DefaultLimits()
	}
	if _, err := os.Lstat(dest); err == nil {
		return Manifest{}, fmt.Errorf("unpacking the archive: %q exists already", dest)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".tmp-") // 0700
	if err != nil {
		return Manifest{}, explain(fmt.Errorf("unpacking the archive: %w", err))
	}
	defer func() { _ = os.RemoveAll(temp) }()
	m, err := readInto(ctx, r, keys, temp, lim)
	if err != nil {
		return Manifest{}, explain(err)
	}
	if err := os.Rename(temp, dest); err != nil {
		return Manifest{}, fmt.Errorf("unpacking the archive: %w", err)
	}
	return m, durable.SyncDir(filepath.Dir(dest))
}

// explain makes a full disk a problem store-full.
func explain(err error) error {
	var p *appliance.Problem
	if errors.As(err, &p) || (!errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT)) {
		return err
	}
	return appliance.NewProblem(appliance.ErrStoreFull, "the disk is full, nothing was changed: %w", err).
		WithHint("free disk space there, then run the same command again")
}

func readInto(ctx context.Context, r io.Reader, keys Keys, dir string, lim Limits) (m Manifest, err error) {
	root, err := os.OpenRoot(dir) // no name leads out of it
	if err != nil {
		return m, fmt.Errorf("unpacking the archive: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	in := &input{ctx: ctx.Err, r: r, left: lim.ArchiveBytes}
	plain, err := open(in, keys, lim)
	if err != nil {
		return m, in.blame(err)
	}
	if m, err = unpack(plain, root, lim); err != nil {
		return m, in.blame(err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return m, err
	}
	return m, m.matches(ctx, filepath.Join(dir, StateName))
}

// input is the file as it comes in: limited, cancellable, and remembering
// whether it was the source that failed.
type input struct {
	ctx  func() error
	r    io.Reader
	left int64
	err  error
}

// Read passes bytes on until the limit.
func (in *input) Read(p []byte) (int, error) {
	if err := in.ctx(); err != nil {
		in.err = err
		return 0, err
	}
	if in.left <= 0 {
		in.err = invalid("it is larger than allowed")
		return 0, in.err
	}
	n, err := in.r.Read(p[:min(int64(len(p)), in.left)])
	in.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = fmt.Errorf("reading the archive: %w", err)
		return n, in.err
	}
	return n, err
}

// blame returns a cancellation or the source's own error instead of the error
// that followed from it.
func (in *input) blame(err error) error {
	if done := in.ctx(); done != nil {
		return fmt.Errorf("reading the archive: %w", done)
	}
	if in.err != nil {
		return in.err
	}
	return err
}

// open looks whether the archive is sealed, and returns its plain bytes.
func open(in io.Reader, keys Keys, lim Limits) (io.Reader, error) {
	r := bufio.NewReader(in)
	intro, err := r.Peek(len(ageIntro))
	switch {
	case string(intro) == ageIntro:
		return keys.unseal(r, lim)
	case err != nil:
		return nil, invalid("it has only %d bytes", len(intro))
	}
	return r, nil
}

// unpack reads the tar: the manifest first, then exactly the parts that it
// announces, each once, in any order, then nothing but zeros.
func unpack(r io.Reader, root *os.Root, lim Limits) (Manifest, error) {
	tr := tar.NewReader(r)
	m, err := readManifest(tr, root, lim)
	if err != nil {
		return m, err
	}
	missing := map[string]Part{}
	for _, p := range m.Parts {
		missing[p.Name] = p
	}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, invalid("it is cut off or damaged: %w", err)
		}
		p, ok := missing[h.Name]
		if !ok {
			return m, invalid("it contains %q, which is not announced or is repeated", h.Name)
		}
		delete(missing, h.Name)
		if err := plainFile(h, p.Size); err != nil {
			return m, err
		}
		if err := readPart(tr, root, p); err != nil {
			return m, err
		}
	}
	for name := range missing {
		return m, invalid("it is cut off: %q is missing", name)
	}
	return m, readPadding(r)
}

// plainFile refuses everything but an ordinary file of that size: no links,
// devices, directories, sparse files.
func plainFile(h *tar.Header, size int64) error {
	if h.Typeflag != tar.TypeReg || h.Linkname != "" {
		return invalid("%q is not an ordinary file (type %q)", h.Name, h.Typeflag)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return invalid("%q is a sparse file", h.Name)
		}
	}
	if h.Size != size {
		return invalid("%q has %d bytes, announced were %d", h.Name, h.Size, size)
	}
	return nil
}

func readManifest(tr *tar.Reader, root *os.Root, lim Limits) (Manifest, error) {
	h, err := tr.Next()
	if err != nil {
		return Manifest{}, invalid("it is not an archive of pgapp: %w", err)
	}
	if h.Name != ManifestName || h.Size > maxManifestBytes {
		return Manifest{}, invalid("its first entry is %q with %d bytes, not a manifest", h.Name, h.Size)
	}
	if err := plainFile(h, h.Size); err != nil {
		return Manifest{}, err
	}
	text, err := io.ReadAll(io.LimitReader(tr, maxManifestBytes))
	if err != nil {
		return Manifest{}, invalid("it is cut off in its manifest: %w", err)
	}
	m, err := parseManifest(text, lim)
	if err != nil {
		return m, err
	}
	return m, writeNew(root, ManifestName, bytes.NewReader(text))
}

func readPart(tr *tar.Reader, root *os.Root, p Part) error {
	sum := sha256.New()
	n := &counter{}
	in := io.TeeReader(io.LimitReader(tr, p.Size+1), io.MultiWriter(sum, n))
	if err := writeNew(root, p.Name, in); err != nil {
		return err
	}
	if n.n != p.Size || hex.EncodeToString(sum.Sum(nil)) != strings.ToLower(p.SHA256) {
		return invalid("%q is not as announced: %d of %d bytes, or another SHA-256", p.Name, n.n, p.Size)
	}
	return nil
}

type counter struct{ n int64 }

// Write counts.
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// writeNew writes a file that doesn't exist yet and syncs it.
func writeNew(root *os.Root, name string, in io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("unpacking the archive's %q: %w", name, err)
	}
	source := &failing{r: in}
	_, err = io.Copy(f, source)
	if source.err != nil {
		err = invalid("it is cut off or damaged in %q: %w", name, source.err)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("unpacking the archive's %q: %w", name, err)
	}
	return nil
}

// failing tells the source's errors from the target's.
type failing struct {
	r   io.Reader
	err error
}

// Read remembers the error.
func (s *failing) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// readPadding reads to the end, where age says whether something was cut off.
func readPadding(r io.Reader) error {
	rest, err := io.ReadAll(io.LimitReader(r, maxPadding+1))
	if err != nil {
		return invalid("it is cut off or damaged at its end: %w", err)
	}
	if len(rest) > maxPadding || bytes.IndexFunc(rest, func(c rune) bool { return c != 0 }) >= 0 {
		return invalid("there are data after its end")
	}
	return nil
}
