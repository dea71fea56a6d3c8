package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"

	"pgapp/appliance"
)

// difference is what a wish changes of a cluster.
type difference struct {
	standbys *int
	// parameters is set if they differ; names lists those that differ.
	parameters map[string]string
	names      []string
	durability appliance.Durability
	automatic  appliance.Automatic
	last       appliance.OnLastStandby
	size       *appliance.MachineSize
	endpoint   *appliance.EndpointSpec
}

func (d difference) none() bool {
	return d.standbys == nil && d.parameters == nil && d.durability == "" && d.automatic == "" && d.last == "" && d.size == nil && d.endpoint == nil
}

// differences compares a wish with the cluster. Fields left empty mean "as it
// is", so that a plain `pgapp up` fits every cluster. The number of standbys, the
// parameters, the durability, what becomes of it without standbys, what pgapp does by itself, the endpoints and the size of
// virtual machines may change, but a disk can't shrink.
// Every other difference is refused.
func differences(old appliance.Cluster, wish appliance.Spec) (difference, error) {
	var d difference
	if n := wish.Standbys; n != nil && *n != len(old.Members)-1 {
		d.standbys = n
	}
	if wish.Parameters != nil && !maps.Equal(wish.Parameters, old.Spec.Parameters) {
		d.parameters, d.names = wish.Parameters, changedNames(old.Spec.Parameters, wish.Parameters)
	}
	if w := wish.Durability; w != "" && w != cmp.Or(old.Spec.Durability, appliance.DurabilityAsync) {
		d.durability = w
	}
	if w := wish.Automatic; w != "" && w != cmp.Or(old.Spec.Automatic, appliance.AutomaticOn) {
		d.automatic = w
	}
	if w := wish.OnLastStandby; w != "" && w != cmp.Or(old.Spec.OnLastStandby, appliance.OnLastStandbyBlock) {
		d.last = w
	}
	wish.OnLastStandby = ""
	if wish.Provider == appliance.ProviderAuto {
		wish.Provider = ""
	}
	d.endpoint = old.Spec.EndpointWishes(wish.EndpointSpec)
	wish.Standbys, wish.Parameters, wish.Durability, wish.Automatic, wish.EndpointSpec = nil, nil, "", "", appliance.EndpointSpec{}
	var differ []appliance.FieldError
	if old.Spec.Provider == appliance.ProviderLibvirt {
		d.size, differ = sizeChange(old.Spec, wish)
		wish.VCPUs, wish.MemoryMiB, wish.DiskGiB = 0, 0, 0
	}
	have, want := fields(old.Spec), fields(wish)
	for name, value := range want {
		if !reflect.DeepEqual(value, have[name]) {
			differ = append(differ, appliance.FieldError{Field: name, Message: fmt.Sprintf("is %s, not %s", show(have[name]), show(value))})
		}
	}
	if len(differ) == 0 {
		return d, nil
	}
	sort.Slice(differ, func(i, j int) bool { return differ[i].Field < differ[j].Field })
	return d, &appliance.Problem{
		ID: appliance.ErrConflict, Message: fmt.Sprintf("cluster %q exists and is different", old.Name), Fields: differ,
		Hint: "leave these out, choose another name with --cluster, or remove the cluster first with 'pgapp down --volumes'",
	}
}

// sizeChange returns the wish's new size of the machines, nil if it is the same.
func sizeChange(old, wish appliance.Spec) (*appliance.MachineSize, []appliance.FieldError) {
	var size appliance.MachineSize
	for _, f := range []struct {
		to        *int
		was, wish int
	}{
		{&size.VCPUs, old.VCPUs, wish.VCPUs},
		{&size.MemoryMiB, old.MemoryMiB, wish.MemoryMiB},
		{&size.DiskGiB, old.DiskGiB, wish.DiskGiB},
	} {
		if f.wish != 0 && f.wish != f.was {
			*f.to = f.wish
		}
	}
	if size.DiskGiB != 0 && size.DiskGiB < old.DiskGiB {
		return nil, []appliance.FieldError{{Field: "disk_gib", Message: fmt.Sprintf("is %d, and a disk can't be made smaller", old.DiskGiB)}}
	}
	if size == (appliance.MachineSize{}) {
		return nil, nil
	}
	return &size, nil
}

// changedNames returns the parameters that are missing or different in one of the
// two.
func changedNames(old, wish map[string]string) []string {
	var out []string
	for name, v := range wish {
		if was, ok := old[name]; !ok || was != v {
			out = append(out, name)
		}
	}
	for name := range old {
		if _, ok := wish[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// fields returns the spec's fields that are set.
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
