package cli

import (
	"reflect"
	"testing"

	"github.com/goccy/go-yaml"
)

// FuzzSpecFile reads mutated spec files: no panic, and what is understood is
// understood the same after it was written out.
func FuzzSpecFile(f *testing.F) {
	for _, s := range []string{
		"", "name: main\nstandbys: 2\n", "name: shop\nparameters: {work_mem: 64MB, jit: \"off\"}\nsql: [a.sql, /b.sql]\n", `{"name":"main","standbys":1}`,
		"name: &a main\ndatabase: *a\n", "standbys: 0x10\n", "standbys: 1e3\n", "---\nname: a\n---\nname: b\n", "name: !!binary YQ==\n", "name: |\n  main\n",
		"<<: &m {name: main}\n", "parameters:\n  a: &x [*x]\n", "standbys: ~\nvcpus: null\n", "name: \"\\u0000\"\n", "\ufeffname: main\n", "name: main\nname: other\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		spec, err := decodeSpec(b)
		if err != nil {
			return
		}
		_ = spec.WithDefaults().Validate() // refuses much, but doesn't panic
		out, err := yaml.Marshal(spec)
		if err != nil {
			t.Fatalf("%q was read as %+v, which can't be written: %v", b, spec, err)
		}
		if spec.WithDefaults().Validate() != nil {
			return // what is refused anyway needs no second reading
		}
		again, err := decodeSpec(out)
		if err != nil || !reflect.DeepEqual(again.WithDefaults(), spec.WithDefaults()) {
			t.Errorf("%q was read as %+v, and then as %+v (%v)", b, spec, again, err)
		}
	})
}
