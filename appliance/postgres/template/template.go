package template

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ErrAbsent says that the program carries no template.
var ErrAbsent = errors.New("this program was built without a template")

// Template is a packed data directory.
type Template struct {
	Manifest Manifest
	archive  []byte
	unpacked func() (image, error)
}

// image is the unpacked tar stream, and where in it the identifier stands.
type image struct {
	tar     []byte
	control span
	wal     []span
}

// span is a file's content in the stream.
type span struct{ from, to int }

// Open reads the template and checks its hash. The error is [ErrAbsent] where
// there is none.
func Open(fsys fs.FS) (*Template, error) {
	text, err := fs.ReadFile(fsys, ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, fmt.Errorf("reading the template's manifest: %w", err)
	}
	t := &Template{}
	if err := json.Unmarshal(text, &t.Manifest); err != nil {
		return nil, fmt.Errorf("reading the template's manifest: %w", err)
	}
	if t.archive, err = fs.ReadFile(fsys, ArchiveName); err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	if sum := sha256.Sum256(t.archive); hex.EncodeToString(sum[:]) != t.Manifest.SHA256 {
		return nil, errors.New("the template is damaged: its hash is not the manifest's")
	}
	t.unpacked = sync.OnceValues(t.unpack)
	return t, nil
}

// WriteTar writes the data directory as a tar stream, with the system
// identifier in its places. It may be called by several goroutines; the
// template is unpacked once for all of them, to 25 MB of memory.
func (t *Template) WriteTar(ctx context.Context, w io.Writer, identifier uint64) error {
	im, err := t.unpacked()
	if err != nil {
		return err
	}
	done := 0
	for _, s := range append([]span{im.control}, im.wal...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		content := slices.Clone(im.tar[s.from:s.to])
		if s == im.control {
			err = stampControl(content, identifier)
		} else {
			err = stampWAL(content, identifier)
		}
		if err != nil {
			return fmt.Errorf("stamping the template: %w", err)
		}
		for _, part := range [][]byte{im.tar[done:s.from], content} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		done = s.to
	}
	_, err = w.Write(im.tar[done:])
	return err
}

// unpack decompresses the archive and finds the files that carry the
// identifier: pg_control, then the WAL, as a sorted walk packs them.
func (t *Template) unpack() (image, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return image{}, fmt.Errorf("unpacking the template: %w", err)
	}
	defer z.Close()
	var im image
	if im.tar, err = z.DecodeAll(t.archive, nil); err != nil {
		return image{}, fmt.Errorf("unpacking the template: %w", err)
	}
	r := bytes.NewReader(im.tar)
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return image{}, fmt.Errorf("unpacking the template: %w", err)
		}
		at := len(im.tar) - r.Len() // the tar reader stops right before the content
		s := span{at, at + int(h.Size)}
		switch {
		case h.Name == controlFile:
			im.control = s
		case strings.HasPrefix(h.Name, walDir) && h.Typeflag == tar.TypeReg:
			im.wal = append(im.wal, s)
		}
	}
	if im.control.to == 0 || len(im.wal) == 0 || im.wal[0].from < im.control.to {
		return image{}, errors.New("unpacking the template: pg_control or the WAL is not where it should be")
	}
	return im, nil
}
