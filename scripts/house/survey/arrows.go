package survey

import (
	"cmp"
	"go/types"
	"maps"
	"slices"
)

// Arrow says that file From uses a name that file To declares. Both are of one
// room: arrows between rooms are imports, which never form a circle.
type Arrow struct {
	Room, From, To string
	// Up is set where To stands above From.
	Up bool
}

// ArrowsMeaning defines the arrows that run up, for a report's reader.
const ArrowsMeaning = `An arrow runs from a file to another file of its room of which it uses a name (function, method, type,
constant, variable, field). Files are put in an order in which few arrows run up (Eades, Lin, Smyth 1993:
again and again, a file that uses none of the rest goes to the bottom, a file that none of the rest uses to
the top, else the one with most uses over users to the top). An arrow to a file above runs up. In a room
without circles of files none does.`

// Arrows lists the arrows between the room's files.
func (r *Room) Arrows() []Arrow {
	uses := map[[2]string]bool{}
	for ident, object := range r.info.Uses {
		if object.Pkg() != r.pkg || !declared(object) {
			continue
		}
		from, to := r.file(ident.Pos()), r.file(object.Pos())
		if from != to {
			uses[[2]string{from, to}] = true
		}
	}
	height := floors(r.Files, uses)
	var all []Arrow
	for _, u := range slices.SortedFunc(maps.Keys(uses), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		all = append(all, Arrow{Room: r.Path, From: u[0], To: u[1], Up: height[u[1]] > height[u[0]]})
	}
	return all
}

// declared leaves out what belongs to one function: its parameters, variables
// and labels.
func declared(object types.Object) bool {
	switch o := object.(type) {
	case *types.Func:
		return true
	case *types.Var:
		return o.IsField() || o.Parent() == o.Pkg().Scope()
	case *types.TypeName, *types.Const:
		return o.Parent() == o.Pkg().Scope()
	}
	return false
}

// floors gives each file a height, so that few arrows run up.
func floors(files []string, uses map[[2]string]bool) map[string]int {
	rest := slices.Sorted(slices.Values(files))
	height := map[string]int{}
	low, high := 0, len(rest)
	for len(rest) > 0 {
		i, bottom := next(rest, uses)
		if bottom {
			height[rest[i]] = low
			low++
		} else {
			high--
			height[rest[i]] = high
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return height
}

// next chooses the file that is placed next, and whether at the bottom.
func next(rest []string, uses map[[2]string]bool) (index int, bottom bool) {
	best, most := 0, -len(rest)-1
	top := -1
	for i, f := range rest {
		out, in := degrees(f, rest, uses)
		if out == 0 {
			return i, true
		}
		if in == 0 && top < 0 {
			top = i
		}
		if cmp.Compare(out-in, most) > 0 {
			best, most = i, out-in
		}
	}
	if top >= 0 {
		return top, false
	}
	return best, false
}

// degrees counts the files of rest that f uses, and those that use f.
func degrees(f string, rest []string, uses map[[2]string]bool) (out, in int) {
	for _, other := range rest {
		if uses[[2]string{f, other}] {
			out++
		}
		if uses[[2]string{other, f}] {
			in++
		}
	}
	return out, in
}
