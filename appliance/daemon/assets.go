package daemon

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

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

// template returns the embedded template where it fits: made for this tree,
// and for a cluster with nothing but the defaults in it.
func (s *server) template(ctx context.Context, spec appliance.Spec) *template.Template {
	archive := s.treeArchive()
	if archive == nil || spec.Provider != appliance.ProviderLocal || spec.PostgresBin != "" || len(spec.SQL) > 0 {
		return nil
	}
	t, err := template.Open(archive)
	if err != nil {
		return nil
	}
	m := t.Manifest
	if spec.Dataset != m.Dataset || spec.Database != m.Database || spec.Locale != m.Locale {
		return nil
	}
	if tm, err := tree.ReadManifest(archive); err != nil || tm.SHA256 != m.Tree {
		return nil
	}
	// A PostgreSQL of the host comes before the tree.
	if _, err := tree.Find(ctx, tree.Search{}); err == nil || ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	s.hostAbsent.Store(&now)
	return t
}

// hostMemory is for how long the host is taken to have no PostgreSQL 17 when
// it had none: the plan looks, and in a moment the plan's step.
const hostMemory = 5 * time.Second

// binaries finds or unpacks the PostgreSQL of members on this machine.
func (s *server) binaries(ctx context.Context, spec appliance.Spec) (tree.Binaries, error) {
	search := tree.Search{BinDir: spec.PostgresBin, Archive: s.treeArchive(), UnpackDir: filepath.Join(s.Home, home.BinariesDir)}
	if absent := s.hostAbsent.Load(); absent != nil && time.Since(*absent) < hostMemory {
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
