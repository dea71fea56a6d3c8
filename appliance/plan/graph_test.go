package plan

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres/template"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// localProvider has the local provider's steps.
type localProvider struct{ appliance.Provider }

func (localProvider) CreateSteps(_ appliance.Cluster, members []appliance.Member) []appliance.Step {
	out := []appliance.Step{{ID: "host", Title: "check this machine", Kind: appliance.StepHost}}
	for _, m := range members {
		out = append(out, appliance.Step{ID: "machine/" + m.Name, Member: m.Name, Kind: appliance.StepMachine, After: []string{"host"}})
	}
	return out
}

func (localProvider) DestroySteps(_ appliance.Cluster, members []appliance.Member) []appliance.Step {
	var out []appliance.Step
	var after []string
	for _, m := range members {
		out = append(out, appliance.Step{ID: "remove/" + m.Name, Member: m.Name, Kind: appliance.StepRemove})
		after = append(after, "remove/"+m.Name)
	}
	return append(out, appliance.Step{ID: "remove-cluster", After: after})
}

func (localProvider) Machine(appliance.Cluster, appliance.Member) appliance.Machine { return still{} }

// still is a machine whose server doesn't run.
type still struct{ appliance.Machine }

func (still) ServerRunning(context.Context) (bool, error) { return false, nil }

// guestProvider has the steps of virtual machines, whose size can change.
type guestProvider struct{ fakeProvider }

func (*guestProvider) Machine(appliance.Cluster, appliance.Member) appliance.Machine { return still{} }

func (*guestProvider) DestroySteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	return localProvider{}.DestroySteps(c, members)
}

func (*guestProvider) CreateSteps(_ appliance.Cluster, members []appliance.Member) []appliance.Step {
	out := []appliance.Step{
		{ID: "network"},
		{ID: "keys"},
		{ID: "image"},
		{ID: "golden-image", After: []string{"image", "network"}},
	}
	for _, m := range members {
		out = append(out, appliance.Step{ID: "disk/" + m.Name, Member: m.Name, After: []string{"golden-image"}},
			appliance.Step{ID: "machine/" + m.Name, Member: m.Name, Kind: appliance.StepMachine, After: []string{"disk/" + m.Name, "keys", "network"}})
	}
	return out
}

// drawn is an operation on a cluster, whose graph the golden file holds.
type drawn struct {
	name     string
	cluster  appliance.Cluster
	op       appliance.Operation
	template bool
}

func member(name string, placement appliance.Placement) appliance.Member {
	return appliance.Member{Name: name, Placement: placement, Slot: name, Host: "127.0.122.1", Port: 5432}
}

func clusterOf(provider appliance.ProviderKind, phase appliance.Phase, standbys int) appliance.Cluster {
	placement := appliance.PlacementLocal
	if provider == appliance.ProviderLibvirt {
		placement = appliance.PlacementVM
	}
	c := appliance.Cluster{
		Name: "main", Primary: "node0", Phase: phase, Initialised: phase != appliance.PhaseCreating,
		Spec: appliance.Spec{Provider: provider, Dataset: "pagila", Database: "pagila"},
	}
	for i := range standbys + 1 {
		c.Members = append(c.Members, member(fmt.Sprintf("node%d", i), placement))
	}
	return c
}

func changesOf(c appliance.Cluster) map[string]appliance.Change {
	n := len(c.Members)
	placement := c.Members[0].Placement
	out := map[string]appliance.Change{
		"grow":    {Standbys: n, Add: []appliance.Member{member(fmt.Sprintf("node%d", n), placement)}},
		"shrink":  {Standbys: n - 3, Remove: c.Members[n-2:]},
		"reload":  {Standbys: n - 1, SetParameters: true, Parameters: map[string]string{"work_mem": "8MB"}},
		"restart": {Standbys: n - 1, SetParameters: true, Parameters: map[string]string{"max_connections": "50"}, Restart: []string{"max_connections"}},
	}
	if placement == appliance.PlacementVM {
		out["resize"] = appliance.Change{Standbys: n - 1, Size: &appliance.MachineSize{MemoryMiB: 2048}}
	}
	return out
}

func drawings() []drawn {
	var out []drawn
	add := func(name string, c appliance.Cluster, kind appliance.OperationKind, p appliance.OperationParams, template bool) {
		out = append(out, drawn{
			name: fmt.Sprintf("%s %s %s", c.Spec.Provider, kind, name), cluster: c, template: template,
			op: appliance.Operation{ID: "op", Cluster: c.Name, Kind: kind, Params: p},
		})
	}
	for _, provider := range []appliance.ProviderKind{appliance.ProviderLocal, appliance.ProviderLibvirt} {
		fresh, ready := clusterOf(provider, appliance.PhaseCreating, 3), clusterOf(provider, appliance.PhaseReady, 3)
		none := appliance.OperationParams{}
		add("new", fresh, appliance.OpUp, none, false)
		if provider == appliance.ProviderLocal {
			add("new from the template", fresh, appliance.OpUp, none, true)
		}
		delayed := fresh
		delayed.Spec.Parameters = map[string]string{"recovery_min_apply_delay": "1min"}
		delayed.Spec.SQL = []string{"a.sql"}
		add("new, delayed, from files", delayed, appliance.OpUp, none, false)
		alone := clusterOf(provider, appliance.PhaseCreating, 0)
		add("alone", alone, appliance.OpUp, none, false)
		add("ready", ready, appliance.OpUp, none, false)
		failed := clusterOf(provider, appliance.PhaseFailed, 2)
		add("failed", failed, appliance.OpUp, appliance.OperationParams{WantRunning: true}, false)
		stopped := ready
		stopped.Phase, stopped.WantStopped = appliance.PhaseStopped, true
		add("stopped", stopped, appliance.OpUp, appliance.OperationParams{WantRunning: true}, false)
		changes := changesOf(ready)
		names := []string{"grow", "shrink", "reload", "restart", "resize"}
		for _, name := range names {
			ch, ok := changes[name]
			if !ok {
				continue
			}
			add(name, ready, appliance.OpUp, appliance.OperationParams{Change: &ch}, false)
			if name == "grow" || name == "shrink" {
				add(name, ready, appliance.OpScale, appliance.OperationParams{Change: &ch}, false)
			}
		}
		for _, kind := range []appliance.OperationKind{appliance.OpStart, appliance.OpStop, appliance.OpRestart} {
			add("all", ready, kind, none, false)
			add("primary", ready, kind, appliance.OperationParams{Member: "node0"}, false)
			add("standby", ready, kind, appliance.OperationParams{Member: "node2"}, false)
		}
		add("in place", ready, appliance.OpRestart, appliance.OperationParams{InPlace: true}, false)
		add("what shall run", ready, appliance.OpStart, appliance.OperationParams{KeepStopped: true}, false)
		add("standby", ready, appliance.OpReinit, appliance.OperationParams{Member: "node2"}, false)
		add("all", ready, appliance.OpDestroy, none, false)
	}
	quorum := clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 3)
	quorum.Spec.Durability = appliance.DurabilityQuorum
	standby, shrink := appliance.OperationParams{Member: "node2"}, changesOf(quorum)["shrink"]
	for _, kind := range []appliance.OperationKind{appliance.OpStart, appliance.OpStop, appliance.OpRestart, appliance.OpReinit, appliance.OpRejoin} {
		add("standby under quorum", quorum, kind, standby, false)
	}
	add("standby that died under quorum", quorum, appliance.OpStart, appliance.OperationParams{Member: "node2", KeepStopped: true, Reason: "node2 died"}, false)
	add("all under quorum", quorum, appliance.OpRestart, appliance.OperationParams{}, false)
	add("all under quorum", quorum, appliance.OpSwitchover, appliance.OperationParams{}, false)
	add("shrink under quorum", quorum, appliance.OpScale, appliance.OperationParams{Change: &shrink}, false)
	add("ready under quorum", quorum, appliance.OpUp, appliance.OperationParams{}, false)
	return out
}

// text prints the graph, one step per line.
func text(steps []appliance.Step) string {
	var b strings.Builder
	for _, s := range steps {
		after := slices.Compact(slices.Sorted(slices.Values(s.After)))
		fmt.Fprintf(&b, "  %s (%s) [%s] after %s\n", s.ID, s.Title, s.Member, strings.Join(after, " "))
	}
	return b.String()
}

func (d drawn) planner(t *template.Template) *Planner {
	return New(Config{
		Providers: map[appliance.ProviderKind]appliance.Provider{
			appliance.ProviderLocal: localProvider{}, appliance.ProviderLibvirt: &guestProvider{},
		},
		HostPostgres: func(context.Context) (bool, error) { return !d.template, nil },
		Template: func(appliance.Spec) *template.Template {
			if !d.template {
				return nil
			}
			return t
		},
	})
}

// TestPlanMatchesGoldenGraphs compares the ids, titles and edges of each operation's steps
// with the golden file. Journals of interrupted operations hold these ids.
func TestPlanMatchesGoldenGraphs(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for _, d := range drawings() {
		planner := d.planner(&template.Template{Manifest: template.Manifest{SHA256: "T"}})
		decision, err := planner.DecideOn(t.Context(), d.op, d.cluster)
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		decision.Parallel = min(decision.Parallel, 1) // independent of this machine's processors
		d.op.Decision = &decision
		steps, err := planner.Preview(t.Context(), d.op, d.cluster)
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		fmt.Fprintf(&b, "%s\n%s\n", d.name, text(steps))
	}
	path := filepath.Join("testdata", "graphs.golden")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the graphs differ from %s; rewrite it with -update:\n%s", path, b.String())
	}
}
