package template

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/s2"
)

// The files of a packed template, in the directory of the PostgreSQL tree.
const (
	ArchiveName  = "template.tar.s2"
	ManifestName = "template.json"
)

// blockBytes is the size of the unpacked blocks. It is small, since memory new
// to the process costs more time than unpacking.
const blockBytes = 256 << 10

// Manifest describes a template.
type Manifest struct {
	// Tree is the SHA-256 of the archive of the PostgreSQL tree that made the
	// template; the data files fit no other.
	Tree     string `json:"tree"`
	Dataset  string `json:"dataset"`
	Database string `json:"database"`
	Locale   string `json:"locale"`
	// Inputs is the digest of the template's other inputs: the data set and the
	// code that loads it.
	Inputs string `json:"inputs"`
	// Segment is the name of the only WAL segment, which is packed without the
	// zeros at its end.
	Segment string `json:"segment"`
	// SegmentBytes is the segment's full size.
	SegmentBytes int64  `json:"segment_bytes"`
	SHA256       string `json:"sha256"`
	Size         int64  `json:"size"`
}

// Pack writes the archive and the manifest of a cleanly stopped data directory
// to dir. The manifest's fields about the archive are filled in. A repeat
// replaces both.
func Pack(ctx context.Context, dataDir, dir string, m Manifest) error {
	var buf bytes.Buffer
	z := s2.NewWriter(&buf, s2.WriterBestCompression(), s2.WriterBlockSize(blockBytes))
	t := tar.NewWriter(z)
	walk := func(file string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errOr(err, ctx.Err())
		}
		name, err := filepath.Rel(dataDir, file)
		if err != nil || name == "." || skip(name, m.Segment) {
			return err
		}
		return packFile(t, file, filepath.ToSlash(name), d)
	}
	if err := filepath.WalkDir(dataDir, walk); err != nil {
		return fmt.Errorf("packing the template: %w", err)
	}
	for _, c := range []io.Closer{t, z} {
		if err := c.Close(); err != nil {
			return fmt.Errorf("packing the template: %w", err)
		}
	}
	sum := sha256.Sum256(buf.Bytes())
	m.SHA256, m.Size = hex.EncodeToString(sum[:]), int64(buf.Len())
	if err := os.WriteFile(filepath.Join(dir, ArchiveName), buf.Bytes(), 0o644); err != nil {
		return fmt.Errorf("packing the template: %w", err)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("packing the template: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ManifestName), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("packing the template: %w", err)
	}
	return nil
}

func errOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// skip excludes files of a server's run, of a member's identity, and of WAL that
// is no longer needed.
func skip(name, segment string) bool {
	switch name {
	case "postmaster.pid", "postmaster.opts", "standby.signal", "pgapp.conf", "pg_hba.conf", "pg_ident.conf":
		return true
	}
	if rest, ok := strings.CutPrefix(name, walDir); ok {
		return rest != "archive_status" && rest != "summaries" && rest != segment
	}
	return strings.HasPrefix(name, "pg_replslot/") || strings.HasPrefix(name, "pg_stat/") || isMap(name)
}

// isMap tells whether the file is a relation's free space map or visibility map.
// The server recreates them when needed (documentation sections 65.3 and 65.4).
// They are a quarter of all files, and creating files is most of a copy's cost.
func isMap(name string) bool {
	base, suffix, ok := strings.Cut(path.Base(name), "_")
	return ok && (suffix == "fsm" || suffix == "vm") && strings.Trim(base, "0123456789") == ""
}

func packFile(t *tar.Writer, file, name string, d fs.DirEntry) error {
	const dirMode, fileMode = 0o700, 0o600
	if d.IsDir() {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: dirMode})
	}
	if !d.Type().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, walDir) {
		b = trimZeros(b)
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: fileMode, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err = t.Write(b)
	return err
}

// trimZeros cuts the zeros at the end, to whole WAL pages.
func trimZeros(b []byte) []byte {
	const page = 8192
	n := len(bytes.TrimRight(b, "\x00"))
	return b[:min(len(b), (n+page-1)/page*page)]
}
