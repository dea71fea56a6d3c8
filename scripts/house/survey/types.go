package survey

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
)

// Type is one named type of the tree.
type Type struct {
	// Name is the room's path, a dot and the type's name.
	Name string
	// Methods counts the methods declared on the type; of an interface all
	// methods, those of embedded interfaces among them.
	Methods   int
	Interface bool
}

// Types lists the room's package-level types, those with most methods first.
func (r *Room) Types() []Type {
	var all []Type
	scope := r.pkg.Scope()
	for _, name := range scope.Names() {
		named, ok := scope.Lookup(name).Type().(*types.Named)
		if _, isType := scope.Lookup(name).(*types.TypeName); !ok || !isType {
			continue
		}
		t := Type{Name: r.Path + "." + name, Methods: named.NumMethods()}
		if i, ok := named.Underlying().(*types.Interface); ok {
			t.Interface, t.Methods = true, i.NumMethods()
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Type) int {
		return cmp.Or(cmp.Compare(b.Methods, a.Methods), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Exported counts the room's exported package-level names and the exported
// methods of exported types.
func (r *Room) Exported() int {
	n := 0
	for _, f := range r.syntax {
		for _, decl := range f.Decls {
			n += exportedIn(decl)
		}
	}
	return n
}

func exportedIn(decl ast.Decl) int {
	n := 0
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
			n++
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			n += exportedNames(spec)
		}
	}
	return n
}

func exportedNames(spec ast.Spec) int {
	n := 0
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			n++
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() {
				n++
			}
		}
	}
	return n
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	}
	return ""
}

// Lines counts the lines of the files.
func (r *Room) Lines(files []string) (int, error) {
	n := 0
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(r.Dir, f))
		if err != nil {
			return 0, err
		}
		n += bytes.Count(data, []byte("\n"))
	}
	return n, nil
}

// file is the base name of the file that holds the position.
func (r *Room) file(pos token.Pos) string { return filepath.Base(r.fset.Position(pos).Filename) }
