package house

import (
	"testing"

	"pgapp/scripts/house/survey"
)

// maxMethods is how many methods a type may declare; maxOfInterface how many
// methods an interface may have, those of embedded interfaces among them.
const (
	maxMethods     = 40
	maxOfInterface = 8
)

func TestTypesAreSmall(t *testing.T) {
	t.Parallel()
	tree, err := survey.Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range tree {
		for _, typ := range r.Types() {
			limit := maxMethods
			if typ.Interface {
				limit = maxOfInterface
			}
			if typ.Methods > limit {
				t.Errorf("%s has %d methods, more than %d", typ.Name, typ.Methods, limit)
			}
		}
	}
}
