package template

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ErrAbsent says that the program carries no template.
var ErrAbsent = errors.New("this program was built without a template")

// Template is a packed data directory.
type Template struct {
	Manifest Manifest
	archive  []byte
}

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
	return t, nil
}

// WriteTar writes the data directory as a tar stream, with the system
// identifier in its places. It may be called by several goroutines.
func (t *Template) WriteTar(ctx context.Context, w io.Writer, identifier uint64) error {
	z, err := zstd.NewReader(strings.NewReader(string(t.archive)), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("unpacking the template: %w", err)
	}
	defer z.Close()
	in, out := tar.NewReader(z), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = copyEntry(out, in, h, identifier)
		}
		if err != nil {
			return fmt.Errorf("unpacking the template: %w", err)
		}
	}
}

func copyEntry(out *tar.Writer, in io.Reader, h *tar.Header, identifier uint64) error {
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	control, wal := h.Name == controlFile, strings.HasPrefix(h.Name, walDir) && h.Typeflag == tar.TypeReg
	if !control && !wal {
		_, err := io.Copy(out, in)
		return err
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if control {
		err = stampControl(b, identifier)
	} else {
		err = stampWAL(h.Name, b, identifier)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}
