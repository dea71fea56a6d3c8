package template

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/s2"

	"pgapp/appliance"
)

// ErrAbsent means that the program was built without a template.
var ErrAbsent = errors.New("this program was built without a template")

// Template is a packed data directory.
type Template struct {
	Manifest Manifest
	fsys     fs.FS
}

// Open reads the template and verifies its hash. Without a template the error is
// [ErrAbsent].
func Open(fsys fs.FS) (*Template, error) {
	text, err := fs.ReadFile(fsys, ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, fmt.Errorf("reading the template's manifest: %w", err)
	}
	t := &Template{fsys: fsys}
	if err := json.Unmarshal(text, &t.Manifest); err != nil {
		return nil, fmt.Errorf("reading the template's manifest: %w", err)
	}
	return t, t.check()
}

// check compares the archive with the manifest's hash. The archive is part of the
// program, so it is mapped already and not read into memory.
func (t *Template) check() (err error) {
	file, err := t.fsys.Open(ArchiveName)
	if err != nil {
		return fmt.Errorf("reading the template: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return fmt.Errorf("reading the template: %w", err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != t.Manifest.SHA256 {
		return errors.New("the template is damaged: its hash differs from the manifest's")
	}
	return nil
}

// Files returns the data directory's files with the system identifier set. They
// are unpacked as they are read: unpacking for each member costs less than fresh
// memory for all files. Files is safe for concurrent use.
func (t *Template) Files(identifier uint64) appliance.TreeFiles {
	return func(yield func(appliance.TreeFile, error) bool) {
		fail := func(err error) { yield(appliance.TreeFile{}, fmt.Errorf("unpacking the template: %w", err)) }
		file, err := t.fsys.Open(ArchiveName)
		if err != nil {
			fail(err)
			return
		}
		defer func() { _ = file.Close() }() // read only
		stamped := 0
		for in := tar.NewReader(s2.NewReader(file, s2.ReaderMaxBlockSize(blockBytes))); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) && stamped == len(t.stamps()) {
				return
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("pg_control or the WAL segment is missing")
			}
			if err != nil {
				fail(err)
				return
			}
			f := appliance.TreeFile{Name: strings.TrimSuffix(h.Name, "/"), Dir: h.Typeflag == tar.TypeDir, Content: in}
			if stamp, ok := t.stamps()[f.Name]; ok {
				stamped++
				if f.Content, err = stampedContent(in, stamp, identifier); err != nil {
					fail(err)
					return
				}
			}
			if f.Name == t.segment() {
				f.Size = t.Manifest.SegmentBytes
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

func (t *Template) segment() string { return walDir + t.Manifest.Segment }

// stamps are the files that contain the identifier.
func (t *Template) stamps() map[string]func([]byte, uint64) error {
	return map[string]func([]byte, uint64) error{controlFile: stampControl, t.segment(): stampWAL}
}

// stampedContent is the file with the identifier set, which is always in the
// first page.
func stampedContent(file io.Reader, stamp func([]byte, uint64) error, identifier uint64) (io.Reader, error) {
	const page = 8192
	start, err := io.ReadAll(io.LimitReader(file, page))
	if err != nil {
		return nil, err
	}
	if err := stamp(start, identifier); err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(start), file), nil
}
