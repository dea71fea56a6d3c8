package survey

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Row is a row of the import table: the packages that a pattern names, and the
// patterns of what they may import. A pattern that ends in /... stands for a
// package and all below.
type Row struct {
	Packages string
	May      []string
}

// Table reads the import table from function rooms of the tree's scripts/house.
func Table(dir string) ([]Row, error) {
	files, err := filepath.Glob(filepath.Join(dir, "scripts/house/*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "rooms" && fn.Recv == nil {
				return rows(fn), nil
			}
		}
	}
	return nil, fmt.Errorf("no import table in %q", filepath.Join(dir, "scripts/house"))
}

// rows takes each {"packages", []string{"may", ...}} out of the function.
func rows(fn *ast.FuncDecl) []Row {
	var table []Row
	ast.Inspect(fn, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok || lit.Type != nil {
			return true
		}
		words := texts(lit)
		if len(words) > 0 {
			table = append(table, Row{Packages: words[0], May: words[1:]})
		}
		return false
	})
	return table
}

func texts(n ast.Node) []string {
	var words []string
	ast.Inspect(n, func(n ast.Node) bool {
		if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
			if s, err := strconv.Unquote(b.Value); err == nil {
				words = append(words, s)
			}
		}
		return true
	})
	return words
}

// Matches tells whether the package is one that the pattern names.
func Matches(pattern, pkg string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return pkg == base || below && strings.HasPrefix(pkg, base+"/")
}

// RowOf is the first row that names the package, or -1.
func RowOf(table []Row, pkg string) int {
	return slices.IndexFunc(table, func(r Row) bool { return Matches(r.Packages, pkg) })
}

// Unused lists the table's rows that name no package, and the imports that a
// row allows and no package of the row has.
func Unused(table []Row, rooms []*Room) []string {
	var unused []string
	for i, row := range table {
		var imports []string
		empty := true
		for _, r := range rooms {
			if RowOf(table, r.Path) == i {
				empty = false
				imports = append(imports, r.Imports...)
			}
		}
		if empty {
			unused = append(unused, row.Packages+": no package")
		}
		for _, may := range row.May {
			if !slices.ContainsFunc(imports, func(pkg string) bool { return Matches(may, pkg) }) {
				unused = append(unused, row.Packages+" -> "+may)
			}
		}
	}
	return unused
}
