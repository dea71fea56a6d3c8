package plan

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func TestPrimaryMovesForRestartsOnly(t *testing.T) {
	t.Parallel()
	ready := clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 2)
	moving := ready
	moving.Primary, moving.Change = "node1", &appliance.PrimaryChange{Operation: "op", From: "node0", Phase: appliance.ChangeDone}
	changes := changesOf(ready)
	grown := changes["restart"]
	grown.Add = changes["grow"].Add
	up := func(ch appliance.Change) appliance.Operation {
		return appliance.Operation{ID: "op", Kind: appliance.OpUp, Params: appliance.OperationParams{Change: &ch}}
	}
	restart := func(p appliance.OperationParams) appliance.Operation {
		return appliance.Operation{ID: "op", Kind: appliance.OpRestart, Params: p}
	}
	for name, c := range map[string]struct {
		op      appliance.Operation
		cluster appliance.Cluster
		want    string
	}{
		"restart":                       {restart(appliance.OperationParams{}), ready, "node0"},
		"restart planned by two builds": {restart(appliance.OperationParams{}), moving, "node0"},
		"restart in place":              {restart(appliance.OperationParams{InPlace: true}), ready, ""},
		"restart of a member":           {restart(appliance.OperationParams{Member: "node0"}), ready, ""},
		"restart alone":                 {restart(appliance.OperationParams{}), clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 0), ""},
		"parameters by a restart":       {up(changes["restart"]), ready, "node0"},
		"parameters by a reload":        {up(changes["reload"]), ready, ""},
		"parameters and a new standby":  {up(grown), ready, "node0"},
		"parameters of a new cluster":   {up(changes["restart"]), clusterOf(appliance.ProviderLocal, appliance.PhaseCreating, 2), ""},
		"stop":                          {appliance.Operation{ID: "op", Kind: appliance.OpStop}, moving, ""},
	} {
		if got := movedBy(c.op, c.cluster); got != c.want {
			t.Errorf("%s: moves %q, want %q", name, got, c.want)
		}
	}
}

// TestPrimaryStaysForOtherChangesAndSaysWhy has a reason exactly where parameters take a
// restart and the primary does not move for them.
func TestPrimaryStaysForOtherChangesAndSaysWhy(t *testing.T) {
	t.Parallel()
	vms := clusterOf(appliance.ProviderLibvirt, appliance.PhaseReady, 3)
	changes := changesOf(vms)
	both := func(name string) appliance.Change {
		ch := changes["restart"]
		ch.Add, ch.Remove, ch.Size = changes[name].Add, changes[name].Remove, changes[name].Size
		return ch
	}
	for name, c := range map[string]struct {
		change appliance.Change
		want   string
	}{
		"parameters":                   {changes["restart"], ""},
		"parameters and a new standby": {both("grow"), ""},
		"parameters, and fewer":        {both("shrink"), "the same change removes members"},
		"parameters and a size":        {both("resize"), "the same change gives machines another size"},
		"parameters by a reload":       {changes["reload"], ""},
		"fewer":                        {changes["shrink"], ""},
		"a size":                       {changes["resize"], ""},
	} {
		if got := staysFor(&c.change); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		op := appliance.Operation{ID: "op", Kind: appliance.OpUp, Params: appliance.OperationParams{Change: &c.change}}
		if moves, says := movedBy(op, vms) != "", staysFor(&c.change) != ""; len(c.change.Restart) > 0 && moves == says {
			t.Errorf("%s: moves %t, says why not %t", name, moves, says)
		}
	}
	if got := staysFor(nil); got != "" {
		t.Errorf("no change: %q", got)
	}
}

func TestFallingLimitsNamesLoweredParameters(t *testing.T) {
	t.Parallel()
	has := postgres.Limits{150, 8, 0, 64}
	for name, c := range map[string]struct {
		parameters map[string]string
		want       string
	}{
		"same":           {map[string]string{"max_connections": "150"}, ""},
		"raised":         {map[string]string{"max_connections": "200", "max_prepared_transactions": "5"}, ""},
		"lowered":        {map[string]string{"max_connections": "90"}, "a lower max_connections takes effect on the primary before the standbys"},
		"to the default": {nil, "a lower max_connections takes effect on the primary before the standbys"},
		"both": {
			map[string]string{"max_worker_processes": "4", "max_prepared_transactions": "5"},
			"a lower max_connections and max_worker_processes takes effect on the primary before the standbys",
		},
	} {
		if got := fallingLimits(has, c.parameters); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
