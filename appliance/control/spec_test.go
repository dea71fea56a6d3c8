package control

import (
	"slices"
	"testing"

	"pgapp/appliance"
)

func clusterOf(standbys int, parameters map[string]string) appliance.Cluster {
	n := standbys
	c := appliance.Cluster{Name: "main", Primary: "node0", Spec: appliance.Spec{
		Name: "main", Provider: appliance.ProviderLocal, Standbys: &n, Parameters: parameters,
	}.WithDefaults()}
	for i := range standbys + 1 {
		c.Members = append(c.Members, appliance.Member{Name: appliance.MemberName(i)})
	}
	return c
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	two, one := 2, 1
	old := clusterOf(2, map[string]string{"work_mem": "4MB", "jit": "off"})
	old.Spec.Durability, old.Spec.EndpointSpec = "", appliance.EndpointSpec{} // as older records have it
	for _, c := range []struct {
		name     string
		wish     appliance.Spec
		standbys *int
		names    []string
		refused  bool

		durability appliance.Durability
		endpoint   appliance.EndpointSpec
	}{
		{name: "nothing said", wish: appliance.Spec{Name: "main", Provider: appliance.ProviderAuto}},
		{name: "the same", wish: old.Spec},
		{name: "the same number", wish: appliance.Spec{Standbys: &two}},
		{name: "another number", wish: appliance.Spec{Standbys: &one}, standbys: &one},
		{name: "parameters", wish: appliance.Spec{Parameters: map[string]string{"work_mem": "8MB", "log_statement": "all"}}, names: []string{"jit", "log_statement", "work_mem"}},
		{name: "no parameters", wish: appliance.Spec{Parameters: map[string]string{}}, names: []string{"jit", "work_mem"}},
		{name: "the durability that a record without the field has", wish: appliance.Spec{Durability: appliance.DurabilityAsync}},
		{name: "another durability", wish: appliance.Spec{Durability: appliance.DurabilityQuorum}, durability: appliance.DurabilityQuorum},
		{name: "the endpoints that a record without the fields has", wish: appliance.Spec{EndpointSpec: appliance.EndpointSpec{Endpoint: appliance.EndpointOff, EndpointWait: "10000ms"}.WithDefaults()}},
		{name: "endpoints", wish: appliance.Spec{EndpointSpec: appliance.EndpointSpec{Endpoint: appliance.EndpointOn}}, endpoint: appliance.EndpointSpec{Endpoint: appliance.EndpointOn}},
		{name: "no endpoints, as before", wish: appliance.Spec{EndpointSpec: appliance.EndpointSpec{Endpoint: appliance.EndpointOff}}},
		{
			name:     "another wait and lag",
			wish:     appliance.Spec{EndpointSpec: appliance.EndpointSpec{EndpointWait: "2s", ROLagMiB: 1, ROPrimary: appliance.ROPrimaryLast}},
			endpoint: appliance.EndpointSpec{EndpointWait: "2s", ROLagMiB: 1},
		},
		{name: "another database", wish: appliance.Spec{Database: "other"}, refused: true},
		{name: "another locale and number", wish: appliance.Spec{Locale: "de_DE.UTF-8", Standbys: &one}, refused: true},
	} {
		d, err := differences(old, c.wish)
		if c.refused {
			if !appliance.IsProblem(err, appliance.ErrConflict) {
				t.Errorf("%s: %v, want a conflict", c.name, err)
			}
			continue
		}
		if err != nil || !slices.Equal(d.names, c.names) || (d.standbys == nil) != (c.standbys == nil) || d.standbys != nil && *d.standbys != *c.standbys || d.durability != c.durability || (d.endpoint == nil) != (c.endpoint == appliance.EndpointSpec{}) || d.endpoint != nil && *d.endpoint != c.endpoint {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
}

func TestDifferencesInSize(t *testing.T) {
	t.Parallel()
	old := clusterOf(1, nil)
	old.Spec.Provider = appliance.ProviderLibvirt
	old.Spec = old.Spec.WithDefaults()
	for _, c := range []struct {
		name    string
		wish    appliance.Spec
		want    appliance.MachineSize
		refused bool
	}{
		{name: "nothing said"},
		{name: "the same", wish: appliance.Spec{VCPUs: 2, MemoryMiB: 1024, DiskGiB: 10}},
		{name: "memory", wish: appliance.Spec{MemoryMiB: 2048}, want: appliance.MachineSize{MemoryMiB: 2048}},
		{name: "less of it", wish: appliance.Spec{MemoryMiB: 512, VCPUs: 1}, want: appliance.MachineSize{MemoryMiB: 512, VCPUs: 1}},
		{name: "a larger disk", wish: appliance.Spec{DiskGiB: 20}, want: appliance.MachineSize{DiskGiB: 20}},
		{name: "a smaller disk", wish: appliance.Spec{DiskGiB: 5}, refused: true},
	} {
		d, err := differences(old, c.wish)
		switch {
		case c.refused:
			if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrConflict || len(p.Fields) != 1 || p.Fields[0].Field != "disk_gib" {
				t.Errorf("%s: got %v", c.name, err)
			}
		case err != nil, d.none() != (c.want == appliance.MachineSize{}), d.size != nil && *d.size != c.want:
			t.Errorf("%s: got %+v, %v", c.name, d, err)
		}
	}
	if _, err := differences(clusterOf(1, nil), appliance.Spec{MemoryMiB: 2048}); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("memory of members on the host: got %v", err)
	}
}

func TestRemoval(t *testing.T) {
	t.Parallel()
	old := clusterOf(11, nil)
	var names []string
	for _, m := range old.LastStandbys(3) {
		names = append(names, m.Name)
	}
	if !slices.Equal(names, []string{"node11", "node10", "node9"}) {
		t.Errorf("the last three are %q", names)
	}
	if _, err := removal(old, "node0"); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("removing the primary: %v", err)
	}
	ch, err := removal(old, "node2")
	if err != nil || ch.Standbys != 10 || !ch.Removes("node2") {
		t.Errorf("removing node2: %+v, %v", ch, err)
	}
	if left := ch.Without(ch.Applied(old)); len(left.Members) != 11 || !slices.Equal(left.NewMembers(2), []string{"node2", "node12"}) {
		t.Errorf("without node2: %+v", left.Members)
	}
}
