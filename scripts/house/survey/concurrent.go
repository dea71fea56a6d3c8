package survey

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
)

// Concurrent lists the import paths of the packages with a file, test files
// included, that has a go statement, a sync.WaitGroup or an errgroup.
func Concurrent(ctx context.Context, dir string) ([]string, error) {
	all, err := list(ctx, dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range all {
		for _, f := range slices.Concat(p.GoFiles, testFiles(p)) {
			found, err := concurrent(filepath.Join(p.Dir, f))
			if err != nil {
				return nil, fmt.Errorf("reading package %q: %w", p.ImportPath, err)
			}
			if found {
				paths = append(paths, p.ImportPath)
				break
			}
		}
	}
	return paths, nil
}

func concurrent(path string) (bool, error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return false, err
	}
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			found = found || ok && (x.Name == "errgroup" || x.Name == "sync" && n.Sel.Name == "WaitGroup")
		}
		return !found
	})
	return found, nil
}
