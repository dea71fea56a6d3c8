// Package survey measures the tree: its rooms, types and arrows.
package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Room is one package of the tree.
type Room struct {
	// Path is the import path without the module's name; the module's root
	// package has the module's name.
	Path string
	Dir  string
	// Imports are the rooms that the package's non-test files import.
	Imports []string
	// Files are the non-test files that the build takes, by base name.
	Files []string
	// TestFiles are the test files, those of other build tags among them.
	TestFiles []string

	fset   *token.FileSet
	syntax []*ast.File
	pkg    *types.Package
	info   *types.Info
}

// listed is what go list prints of a package.
type listed struct {
	ImportPath     string
	Dir            string
	Export         string
	Module         *struct{ Main bool }
	Imports        []string
	GoFiles        []string
	TestGoFiles    []string
	XTestGoFiles   []string
	IgnoredGoFiles []string
}

// Load type-checks all packages of the module whose root is dir. The compiled
// dependencies come from go's build cache.
func Load(ctx context.Context, dir string) ([]*Room, error) {
	all, err := list(ctx, dir, "-deps", "-export")
	if err != nil {
		return nil, err
	}
	exports, ours := map[string]string{}, map[string]bool{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
		ours[p.ImportPath] = p.Module != nil && p.Module.Main
	}
	fset := token.NewFileSet()
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	imports := importer.ForCompiler(fset, "gc", lookup)
	var rooms []*Room
	for _, p := range all {
		if !ours[p.ImportPath] {
			continue
		}
		r := &Room{Path: Short(p.ImportPath), Dir: p.Dir, Files: p.GoFiles, TestFiles: testFiles(p), fset: fset}
		for _, path := range p.Imports {
			if ours[path] {
				r.Imports = append(r.Imports, Short(path))
			}
		}
		if err := r.check(p.ImportPath, imports); err != nil {
			return nil, fmt.Errorf("checking package %q: %w", p.ImportPath, err)
		}
		rooms = append(rooms, r)
	}
	return rooms, nil
}

// Short leaves out the module's name, except of the root package.
func Short(path string) string {
	if _, rest, ok := strings.Cut(path, "/"); ok {
		return rest
	}
	return path
}

// list runs go list on all packages of the tree.
func list(ctx context.Context, dir string, flags ...string) ([]listed, error) {
	const fields = "-json=ImportPath,Dir,Export,Module,Imports,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles"
	args := slices.Concat([]string{"list", fields}, flags, []string{"./..."})
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("listing packages: %w\n%s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading go list's output: %w", err)
		}
		all = append(all, p)
	}
}

func testFiles(p listed) []string {
	files := slices.Concat(p.TestGoFiles, p.XTestGoFiles)
	for _, f := range p.IgnoredGoFiles {
		if strings.HasSuffix(f, "_test.go") {
			files = append(files, f)
		}
	}
	return files
}

func (r *Room) check(path string, imports types.Importer) error {
	for _, f := range r.Files {
		parsed, err := parser.ParseFile(r.fset, filepath.Join(r.Dir, f), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		r.syntax = append(r.syntax, parsed)
	}
	r.info = &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: imports}
	var err error
	r.pkg, err = conf.Check(path, r.fset, r.syntax, r.info)
	return err
}
