package archive

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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgapp/appliance/durable"
	"pgapp/store"
)

// Source is the content of an archive.
type Source struct {
	Store *store.Store
	// Version is pgapp's, for the manifest.
	Version string
	// Now is the time of the archive.
	Now time.Time
}

// Write writes an archive of the store, which may be in use, to w. The plain
// state is held in memory only, never on disk. After an error what w got is of
// no use.
func Write(ctx context.Context, w io.Writer, src Source, seal Seal) (Manifest, error) {
	var state bytes.Buffer
	info, n, err := src.Store.Snapshot(ctx, &state)
	if err != nil {
		return Manifest{}, err
	}
	sum := sha256.Sum256(state.Bytes())
	m := Manifest{
		Format: Format, PgappVersion: src.Version, SchemaVersion: info.Schema, Instance: info.Instance,
		Epoch: info.Epoch(), Epochs: info.Epochs, CreatedAt: src.Now.UTC().Truncate(time.Second),
		Parts: []Part{{Name: StateName, Size: n, SHA256: hex.EncodeToString(sum[:])}},
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Manifest{}, fmt.Errorf("encoding the archive's manifest: %w", err)
	}
	out, err := seal.wrap(w)
	if err != nil {
		return Manifest{}, err
	}
	tw := tar.NewWriter(out)
	err = errors.Join(
		addEntry(ctx, tw, ManifestName, m.CreatedAt, append(text, '\n')),
		addEntry(ctx, tw, StateName, m.CreatedAt, state.Bytes()),
	)
	if err = errors.Join(err, tw.Close(), out.Close()); err != nil {
		return Manifest{}, fmt.Errorf("writing the archive: %w", err)
	}
	return m, nil
}

// addEntry writes one file. USTAR is the form that every tar reads.
func addEntry(ctx context.Context, tw *tar.Writer, name string, at time.Time, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: at, Format: tar.FormatUSTAR,
	}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}

// WriteFile writes an archive to the file at path (0600), which is there whole
// or not at all, synced to disk, also when the process is killed.
func WriteFile(ctx context.Context, path string, src Source, seal Seal) (m Manifest, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".archive.tmp-")
	if err != nil {
		return Manifest{}, fmt.Errorf("writing the archive %q: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	m, err = Write(ctx, f, src, seal)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Manifest{}, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Manifest{}, fmt.Errorf("writing the archive %q: %w", path, err)
	}
	return m, durable.SyncDir(filepath.Dir(path))
}

// namePrefix and nameSuffix enclose the time in the name of an archive that
// pgapp makes by itself.
const (
	namePrefix = "state-"
	nameSuffix = ".tar.age"
)

// FileName is the name of an archive that pgapp makes by itself; by name they
// are in order of time.
func FileName(at time.Time) string {
	return namePrefix + at.UTC().Format("20060102T150405.000000000Z") + nameSuffix
}

// Rotate removes all but the newest keep archives of [FileName]'s names in
// dir, and what a killed [WriteFile] left there. It touches nothing else.
func Rotate(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for old archives: %w", err)
	}
	var ours []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case !e.Type().IsRegular():
		case strings.HasPrefix(name, ".archive.tmp-"):
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		case strings.HasPrefix(name, namePrefix) && strings.HasSuffix(name, nameSuffix):
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	for _, name := range ours[:max(0, len(ours)-keep)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	if err != nil {
		return fmt.Errorf("removing old archives: %w", err)
	}
	return nil
}
