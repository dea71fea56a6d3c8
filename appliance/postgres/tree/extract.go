package tree

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/s2"
)

// fileSum is a file's size and checksum, by which damage is found later.
type fileSum struct {
	Size  int64  `json:"size"`
	CRC32 uint32 `json:"crc32"`
}

// extract unpacks the archive in fsys into the empty directory root and returns
// the sums of its regular files. The archive's hash is verified at the end, so
// nothing in root may be used before extract has returned nil.
func extract(ctx context.Context, fsys fs.FS, m Manifest, root *os.Root, p patcher) (sums map[string]fileSum, err error) {
	file, err := fsys.Open(archiveName)
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	hash := sha256.New()
	packed := io.TeeReader(&contextReader{ctx: ctx, from: io.LimitReader(file, m.Size+1)}, hash)
	unpacked := io.LimitReader(s2.NewReader(packed), m.UnpackedSize)
	sums, err = extractTar(unpacked, root, p)
	if err == nil {
		// Zeros after the tar's end fill its last record. Data beyond the
		// manifest's size is cut off here, and so changes the hash.
		_, err = io.Copy(io.Discard, unpacked)
	}
	if _, drainErr := io.Copy(io.Discard, packed); err == nil {
		err = drainErr
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != m.SHA256 && ctx.Err() == nil && !isWriteError(err) {
		return nil, errors.Join(fmt.Errorf("the archive's SHA-256 is %s, the manifest says %s", got, m.SHA256), err)
	}
	return sums, err
}

// writeError marks a failure of this machine, not of the archive.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

func isWriteError(err error) bool {
	_, ok := errors.AsType[writeError](err)
	return ok
}

// contextReader ends a long read with its context.
type contextReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no room for it
	from io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}

func extractTar(from io.Reader, root *os.Root, p patcher) (map[string]fileSum, error) {
	w := &writer{root: root, patcher: p, made: map[string]bool{".": true}, sums: map[string]fileSum{}, buffer: make([]byte, 256<<10), at: ".", dir: root}
	defer w.leave()
	for archive := tar.NewReader(from); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return w.sums, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		if err := w.entry(header, archive); err != nil {
			return nil, fmt.Errorf("unpacking %q: %w", header.Name, err)
		}
	}
}

type writer struct {
	root    *os.Root
	patcher patcher
	made    map[string]bool
	sums    map[string]fileSum
	buffer  []byte
	// dir is the open directory at, that of the last file: files of a directory
	// follow each other.
	at  string
	dir *os.Root
}

// enter opens the directory name, unless it is the last file's directory.
func (w *writer) enter(name string) error {
	if name == w.at {
		return nil
	}
	dir, err := w.root.OpenRoot(name)
	if err != nil {
		return writeError{err}
	}
	w.leave()
	w.at, w.dir = name, dir
	return nil
}

func (w *writer) leave() {
	if w.dir != w.root {
		_ = w.dir.Close() // nothing was written through it
	}
	w.at, w.dir = ".", w.root
}

func (w *writer) entry(header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if !filepath.IsLocal(name) {
		return errors.New("the name leads out of the tree")
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return w.directory(name)
	case tar.TypeReg:
		if err := w.directory(path.Dir(name)); err != nil {
			return err
		}
		return w.file(name, header.FileInfo().Mode(), content)
	case tar.TypeSymlink:
		if err := w.directory(path.Dir(name)); err != nil {
			return err
		}
		return w.symlink(name, header.Linkname)
	default:
		return fmt.Errorf("type %q is neither file, directory nor symbolic link", header.Typeflag)
	}
}

// directory makes name and its parents with mode 0755, whatever the umask, since
// the server often runs as another user.
func (w *writer) directory(name string) error {
	if w.made[name] {
		return nil
	}
	if err := w.directory(path.Dir(name)); err != nil {
		return err
	}
	if err := w.root.Mkdir(name, 0o755); err != nil {
		return writeError{err}
	}
	if err := w.root.Chmod(name, 0o755); err != nil {
		return writeError{err}
	}
	w.made[name] = true
	return nil
}

func (w *writer) symlink(name, target string) error {
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("the symbolic link to %q leads out of the tree", target)
	}
	if err := w.root.Symlink(target, name); err != nil {
		return writeError{err}
	}
	return nil
}

// file writes one file. By O_EXCL a duplicate name, or the name of a symbolic
// link, is an error.
func (w *writer) file(name string, mode fs.FileMode, content io.Reader) (err error) {
	perm := fs.FileMode(0o644)
	if mode&0o100 != 0 {
		perm = 0o755
	}
	if err := w.enter(path.Dir(name)); err != nil {
		return err
	}
	f, err := w.dir.OpenFile(path.Base(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return writeError{err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := crc32.New(castagnoli())
	size, err := io.CopyBuffer(io.MultiWriter(markingWriter{f}, hash), content, w.buffer)
	if err != nil {
		return err
	}
	sum := fileSum{Size: size, CRC32: hash.Sum32()}
	if perm == 0o755 {
		changed, err := w.patcher.patch(f)
		if err != nil {
			return err
		}
		if changed {
			sum, err = sumFile(f, w.buffer)
		}
		if err != nil {
			return err
		}
	}
	if err := f.Chmod(perm); err != nil {
		return writeError{err}
	}
	w.sums[name] = sum
	return nil
}

// markingWriter marks its file's write errors.
type markingWriter struct{ f *os.File }

func (w markingWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	if err != nil {
		return n, writeError{err}
	}
	return n, nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// sumFile reads f from its start.
func sumFile(f *os.File, buffer []byte) (fileSum, error) {
	hash := crc32.New(castagnoli())
	n, err := io.CopyBuffer(hash, io.NewSectionReader(f, 0, 1<<62), buffer)
	if err != nil {
		return fileSum{}, fmt.Errorf("reading %q: %w", f.Name(), err)
	}
	return fileSum{Size: n, CRC32: hash.Sum32()}, nil
}
