package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// markerFile is the name of the file that marks a directory as pgapp's.
const markerFile = ".pgapp"

// marker is the content of markerFile: the owner of the directory. Member is
// empty for a cluster's directory.
type marker struct {
	ClusterUUID string `json:"cluster_uuid"`
	Cluster     string `json:"cluster"`
	Member      string `json:"member,omitempty"`
}

// ownership is the result of comparing a directory's marker.
type ownership int

const (
	absent ownership = iota
	ours
	foreign
)

// dirOwnership compares the directory's marker with want. A directory without
// a marker is foreign, and so is a path that isn't a directory.
func dirOwnership(dir string, want marker) (ownership, error) {
	st, err := os.Lstat(dir)
	switch {
	case missing(err):
		return absent, nil
	case err != nil:
		return foreign, fmt.Errorf("looking at %q: %w", dir, err)
	case !st.IsDir():
		return foreign, nil
	}
	got, err := readMarker(dir)
	if err != nil {
		return foreign, err
	}
	if got != want {
		return foreign, nil
	}
	return ours, nil
}

// readMarker returns an empty marker if the file is missing or damaged.
func readMarker(dir string) (marker, error) {
	data, err := readInDir(dir, markerFile)
	if missing(err) {
		return marker{}, nil
	}
	if err != nil {
		return marker{}, fmt.Errorf("reading the marker: %w", err)
	}
	var got marker
	if err := json.Unmarshal(data, &got); err != nil {
		return marker{}, nil //nolint:nilerr // a damaged marker names no owner
	}
	return got, nil
}

// missing reports whether err says that a path doesn't exist, or that a parent
// of the path isn't a directory.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

func (m *place) marker() marker {
	return marker{ClusterUUID: m.uuid, Cluster: m.cluster, Member: m.member}
}

func (m *place) owned() (ownership, error) { return dirOwnership(m.dir, m.marker()) }

// requireOwn returns a Problem unless the member's directory has the member's
// marker.
func (m *place) requireOwn() error {
	own, err := m.owned()
	switch {
	case err != nil:
		return err
	case own == ours:
		return nil
	case own == absent:
		return appliance.NewProblem(appliance.ErrNotFound, "member %s has no directory %s", m.member, m.dir).
			WithHint("pgapp up makes the missing directories")
	}
	return foreignProblem(m.dir, m.cluster)
}

func foreignProblem(dir, cluster string) error {
	return appliance.NewProblem(appliance.ErrDataDirForeign, "%s exists and does not belong to cluster %q", dir, cluster).
		WithHint("move it away, or choose another cluster name or home; pgapp never touches it")
}

// makeMemberDir makes the member's directory under a temporary name and renames
// the complete directory into place, so that an interrupted call never leaves a
// directory in place without a marker.
func (m *place) makeMemberDir(ctx context.Context, i ids) error {
	tmp, _ := m.leftovers()
	if err := removeTree(ctx, tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, privateMode); err != nil {
		return fmt.Errorf("making the directory of member %q: %w", m.member, err)
	}
	if err := writeMarker(tmp, m.marker()); err != nil {
		return err
	}
	if err := os.Lchown(filepath.Join(tmp, markerFile), int(i.uid), int(i.gid)); err != nil {
		return fmt.Errorf("giving the marker to the member's user: %w", err)
	}
	if err := os.Lchown(tmp, int(i.uid), int(i.gid)); err != nil {
		return fmt.Errorf("giving %q to the member's user: %w", tmp, err)
	}
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, m.dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // the file system doesn't know the flag
		err = os.Rename(tmp, m.dir)
	}
	if errors.Is(err, fs.ErrExist) {
		return foreignProblem(m.dir, m.cluster)
	}
	if err != nil {
		return fmt.Errorf("moving %q into place: %w", m.dir, err)
	}
	return durable.SyncDir(filepath.Dir(m.dir))
}

// writeMarker writes the marker and syncs it to disk.
func writeMarker(dir string, mk marker) error {
	data, err := json.Marshal(mk)
	if err != nil {
		return fmt.Errorf("encoding the marker: %w", err)
	}
	return writeInDir(dir, markerFile, append(data, '\n'), 0o600, nil)
}

// removeTree removes a directory and its contents without following links.
// removeTree checks ctx between the entries of dir. A missing directory is no
// error.
func removeTree(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %q: %w", dir, err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("removing %q: %w", dir, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing %q: %w", dir, err)
	}
	return nil
}
