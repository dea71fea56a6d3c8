package tree_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres/tree"
)

// programs makes a directory with stand-ins for all programs but the given ones.
// They are links: a program that was just written can't always be run while
// other tests fork.
func programs(t *testing.T, version string, without ...string) string {
	t.Helper()
	target, err := filepath.Abs("testdata/program")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "version"), version+"\n")
	for _, name := range tree.Programs() {
		if slices.Contains(without, name) {
			continue
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const good = "postgres (PostgreSQL) 17.10 (Debian 17.10-1)"

func TestProbe(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		good:                                   "17.10",
		"postgres (PostgreSQL) 17.123":         "17.123",
		"postgres (PostgreSQL) 17.9":           "",
		"postgres (PostgreSQL) 17beta1":        "",
		"postgres (PostgreSQL) 15.12 (Debian)": "",
		"postgres (PostgreSQL) 18.1":           "",
		"postgres (PostgreSQL) 17.12x":         "",
		"postgres (Other Server) 17.12":        "",
		"":                                     "",
	} {
		got, err := tree.Probe(t.Context(), programs(t, version))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", version, got, err, want)
		}
	}
}

func TestFindOrder(t *testing.T) {
	t.Parallel()
	host := programs(t, good)
	old := programs(t, "postgres (PostgreSQL) 15.12")
	partial := programs(t, "postgres (PostgreSQL) 17.11", "psql", "pg_rewind")
	flag := programs(t, "postgres (PostgreSQL) 17.20")
	none := filepath.Join(t.TempDir(), "none")
	archive := archiveOf(t, usual(t))
	for name, c := range map[string]struct {
		search  tree.Search
		source  tree.Source
		version string
		skipped int
	}{
		"flag before host":         {tree.Search{BinDir: flag, HostDirs: []string{host}, Archive: archive}, tree.SourceFlag, "17.20", 0},
		"host before tree":         {tree.Search{HostDirs: []string{none, host}, Archive: archive}, tree.SourceHost, "17.10", 0},
		"unsuitable ones passed":   {tree.Search{HostDirs: []string{old, partial, host}, Archive: archive}, tree.SourceHost, "17.10", 2},
		"tree":                     {tree.Search{HostDirs: []string{}, Archive: archive}, tree.SourceTree, "17.12", 0},
		"tree instead of old ones": {tree.Search{HostDirs: []string{old}, Archive: archive}, tree.SourceTree, "17.12", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.search.UnpackDir = t.TempDir()
			got, err := tree.Find(t.Context(), c.search)
			if err != nil {
				t.Fatal(err)
			}
			if got.Source != c.source || got.Version != c.version || len(got.Skipped) != c.skipped {
				t.Errorf("got %+v", got)
			}
			if _, err := os.Stat(filepath.Join(got.Dir, "postgres")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFindUnsuitable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for name, c := range map[string]struct {
		dir  string
		want string
	}{
		"no directory":     {filepath.Join(t.TempDir(), "none"), "no such file"},
		"a file":           {file, "not a directory"},
		"empty":            {t.TempDir(), "lacks postgres, initdb"},
		"programs missing": {programs(t, good, "pg_rewind", "psql"), "lacks psql, pg_rewind"},
		"too old":          {programs(t, "postgres (PostgreSQL) 17.4"), "PostgreSQL 17.4, older than 17.10"},
		"other version":    {programs(t, "postgres (PostgreSQL) 16.9"), "PostgreSQL 16.9, not 17"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tree.Find(t.Context(), tree.Search{BinDir: c.dir, Archive: archiveOf(t, usual(t)), UnpackDir: t.TempDir()})
			problem, ok := errors.AsType[*appliance.Problem](err)
			if !ok || problem.ID != appliance.ErrPostgresUnsuitable || problem.Hint == "" {
				t.Fatalf("got %#v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestFindMissing(t *testing.T) {
	t.Parallel()
	old := programs(t, "postgres (PostgreSQL) 15.12")
	_, err := tree.Find(t.Context(), tree.Search{HostDirs: []string{old}, UnpackDir: t.TempDir()})
	problem, ok := errors.AsType[*appliance.Problem](err)
	if !errors.Is(err, tree.ErrMissing) || !ok || problem.ID != appliance.ErrPostgresMissing {
		t.Fatalf("got %#v", err)
	}
	if !strings.Contains(problem.Hint, "make") || !strings.Contains(problem.Hint, "--postgres-bin") {
		t.Errorf("the hint doesn't mend it: %q", problem.Hint)
	}
	if !strings.Contains(problem.Detail, old) {
		t.Errorf("the detail doesn't tell of %s: %q", old, problem.Detail)
	}
}

func TestFindCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, search := range []tree.Search{
		{BinDir: programs(t, good)},
		{HostDirs: []string{programs(t, good)}},
	} {
		if _, err := tree.Find(ctx, search); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	if env := (tree.Binaries{Dir: "/x/" + binPath, Source: tree.SourceHost}).Env(); env != nil {
		t.Errorf("got %q for the host's programs", env)
	}
}
