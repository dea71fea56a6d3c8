package house

import (
	"slices"
	"testing"

	"pgapp/scripts/house/survey"
)

// maxMethods is how many methods a type may declare; maxOfInterface how many
// methods an interface may have, those of embedded interfaces among them.
const (
	maxMethods     = 40
	maxOfInterface = 8
)

// tooLarge names the types that are to be cut. Nothing joins the list.
func tooLarge() []string {
	return []string{
		"api.Service", "appliance.Store",
	}
}

func TestTypesAreSmall(t *testing.T) {
	t.Parallel()
	tree, err := survey.Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	large := map[string]bool{}
	for _, r := range tree {
		for _, typ := range r.Types() {
			limit := maxMethods
			if typ.Interface {
				limit = maxOfInterface
			}
			large[typ.Name] = typ.Methods > limit
			if typ.Methods > limit && !slices.Contains(tooLarge(), typ.Name) {
				t.Errorf("%s has %d methods, more than %d", typ.Name, typ.Methods, limit)
			}
		}
	}
	for _, name := range tooLarge() {
		if !large[name] {
			t.Errorf("%s is small enough: take it from the list of those that are too large", name)
		}
	}
}
