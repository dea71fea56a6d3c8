package control

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"

	"pgapp/appliance"
)

// unchanged refuses a wish that differs from what the cluster is. Fields left
// empty mean "as it is", so that a plain `pgapp up` fits every cluster.
func unchanged(old appliance.Cluster, wish appliance.Spec) error {
	if wish.Provider == appliance.ProviderAuto {
		wish.Provider = ""
	}
	have, want := fields(old.Spec), fields(wish)
	var differ []appliance.FieldError
	for name, value := range want {
		if !reflect.DeepEqual(value, have[name]) {
			differ = append(differ, appliance.FieldError{Field: name, Message: fmt.Sprintf("is %s, not %s", show(have[name]), show(value))})
		}
	}
	if len(differ) == 0 {
		return nil
	}
	sort.Slice(differ, func(i, j int) bool { return differ[i].Field < differ[j].Field })
	return &appliance.Problem{
		ID: appliance.ErrConflict, Message: fmt.Sprintf("cluster %q exists and is different", old.Name), Fields: differ,
		Hint: "leave these out, choose another name with --cluster, or remove the cluster first with 'pgapp down --volumes'",
	}
}

// fields are those of the spec that are set.
func fields(s appliance.Spec) map[string]any {
	b, err := json.Marshal(s)
	if err != nil {
		return nil // a spec is plain data and always has a JSON form
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil
	}
	if m["name"] == "" {
		delete(m, "name")
	}
	return m
}

func show(v any) string {
	if v == nil {
		return "not set"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
