package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pgapp/appliance"
	"pgapp/appliance/home"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
	"pgapp/embed/pagila"
)

// Assets are what the binary carries.
type Assets struct {
	// PostgresTree is embed/pgtree's FS.
	PostgresTree fs.FS
	// Pagila is embed/pagila's FS.
	Pagila fs.FS
}

// treeArchive is the embedded tree, or nil where there is none.
func (s *server) treeArchive() fs.FS {
	sub, err := fs.Sub(s.assets.PostgresTree, "tree")
	if err != nil {
		return nil
	}
	return sub
}

// template returns the embedded template if it fits the spec: made for the tree of
// this program, and for a cluster with nothing but the defaults in it.
func (s *server) template(spec appliance.Spec) *template.Template {
	t := s.embedded()
	if t == nil || spec.Provider != appliance.ProviderLocal || spec.PostgresBin != "" || len(spec.SQL) > 0 {
		return nil
	}
	m := t.Manifest
	if spec.Dataset != m.Dataset || spec.Database != m.Database || spec.Locale != m.Locale {
		return nil
	}
	return t
}

// openTemplate opens and verifies the archive's template. It returns nil if there is
// none, or if it was made for another tree.
func openTemplate(archive fs.FS) *template.Template {
	if archive == nil {
		return nil
	}
	t, err := template.Open(archive)
	if err != nil {
		return nil
	}
	if tm, err := tree.ReadManifest(archive); err != nil || tm.SHA256 != t.Manifest.Tree {
		return nil
	}
	return t
}

// hostPostgres tells whether this machine has a PostgreSQL that pgapp can use. It
// comes before the program's tree.
func hostPostgres(ctx context.Context) (bool, error) {
	_, err := tree.Find(ctx, tree.Search{})
	if errors.Is(err, tree.ErrMissing) {
		return false, nil
	}
	return err == nil, err
}

// binaries finds or unpacks the PostgreSQL of members on this machine. Where the
// tree was decided on, the machine's own is not looked for again.
func (s *server) binaries(ctx context.Context, spec appliance.Spec, origin appliance.PostgresOrigin) (tree.Binaries, error) {
	search := tree.Search{BinDir: spec.PostgresBin, Archive: s.treeArchive(), UnpackDir: filepath.Join(s.Home, home.BinariesDir)}
	if origin == appliance.PostgresOfTree {
		search.HostDirs = []string{}
	}
	return tree.Find(ctx, search)
}

// dataset returns the files of an embedded data set.
func (s *server) dataset(name string) ([]postgres.LoadFile, error) {
	if name != appliance.DatasetPagila {
		return nil, appliance.NewProblem(appliance.ErrInternal, "no data set %q", name)
	}
	var out []postgres.LoadFile
	for _, f := range pagila.Files() {
		st, err := fs.Stat(s.assets.Pagila, f)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded data set: %w", err)
		}
		out = append(out, postgres.LoadFile{
			Name: f, Size: st.Size(), AsOwner: true,
			Open: func() (io.ReadCloser, error) { return s.assets.Pagila.Open(f) },
		})
	}
	return out, nil
}

// psqlOf finds the psql that belongs to the cluster's server programs.
func psqlOf(_ context.Context, c appliance.Cluster) (string, error) {
	path := filepath.Join(c.PostgresBin, "psql")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding psql: %w", err)
	}
	return path, nil
}
