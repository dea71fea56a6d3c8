package tree

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
)

const (
	archiveName  = "pgtree.tar.s2"
	manifestName = "manifest.json"

	// binPath and localePath are the paths of the programs and of the locale
	// C.UTF-8 in a tree. PostgreSQL finds its share and library directories
	// relative to the programs, so the layout is Debian's.
	binPath    = "usr/lib/postgresql/17/bin"
	localePath = "usr/lib/locale"
)

// ErrAbsent means that the program was built without a PostgreSQL tree, or with
// one for another processor.
var ErrAbsent = errors.New("this program was built without a PostgreSQL tree")

// Manifest describes an archive; scripts/build/pgtree writes it.
type Manifest struct {
	// Version is PostgreSQL's, such as 17.12.
	Version string `json:"version"`
	// Arch is the processor as in GOARCH.
	Arch string `json:"arch"`
	// SHA256 is the archive's hash in lower-case hex.
	SHA256 string `json:"sha256"`
	// Size is the archive's size in bytes, UnpackedSize that of the tar in it.
	Size         int64 `json:"size"`
	UnpackedSize int64 `json:"unpacked_size"`
	// Interpreter is the loader's path in the tree.
	Interpreter string `json:"interpreter"`
	// PlaceholderPrefix is the beginning of the path that the archive's programs
	// have instead of the loader's.
	PlaceholderPrefix string `json:"placeholder_prefix"`
	// Packages are the Debian packages in it and their versions.
	Packages map[string]string `json:"packages"`
}

// ReadManifest returns the manifest of the archive in fsys, which is
// embed/pgtree's FS or its folder tree. Without an archive the error is
// ErrAbsent.
func ReadManifest(fsys fs.FS) (Manifest, error) {
	_, m, err := open(fsys)
	return m, err
}

// open returns the folder in fsys that holds the archive, and its manifest.
func open(fsys fs.FS) (fs.FS, Manifest, error) {
	if fsys == nil {
		return nil, Manifest{}, ErrAbsent
	}
	if _, err := fs.Stat(fsys, "tree/"+manifestName); err == nil {
		sub, err := fs.Sub(fsys, "tree")
		if err != nil {
			return nil, Manifest{}, fmt.Errorf("opening the PostgreSQL tree: %w", err)
		}
		fsys = sub
	}
	raw, err := fs.ReadFile(fsys, manifestName)
	if err == nil {
		_, err = fs.Stat(fsys, archiveName)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Manifest{}, ErrAbsent
	}
	if err != nil {
		return nil, Manifest{}, fmt.Errorf("opening the PostgreSQL tree: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, Manifest{}, fmt.Errorf("reading the PostgreSQL tree's manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, Manifest{}, fmt.Errorf("reading the PostgreSQL tree's manifest: %w", err)
	}
	return fsys, m, nil
}

// check refuses values that would make a wrong path or disable a check.
func (m Manifest) check() error {
	if hash, err := hex.DecodeString(m.SHA256); err != nil || len(hash) != 32 {
		return fmt.Errorf("sha256 %q is not a SHA-256", m.SHA256)
	}
	if !regexp.MustCompile(`^[0-9]{1,3}\.[0-9]{1,3}$`).MatchString(m.Version) {
		return fmt.Errorf("version %q is not PostgreSQL's", m.Version)
	}
	if m.Size <= 0 || m.UnpackedSize <= 0 {
		return errors.New("sizes are missing")
	}
	if !filepath.IsLocal(m.Interpreter) || m.PlaceholderPrefix == "" {
		return errors.New("interpreter or placeholder_prefix is missing")
	}
	if m.Arch != runtime.GOARCH {
		return fmt.Errorf("%w: its tree is for %s, this is %s", ErrAbsent, m.Arch, runtime.GOARCH)
	}
	return nil
}

// folder is the name of a tree's directory, unique to the archive, not only to
// the version.
func (m Manifest) folder() string { return m.Version + "-" + m.SHA256[:12] }
