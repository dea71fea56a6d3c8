package plan

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// fakeMachine returns err from what it is asked.
type fakeMachine struct {
	appliance.Machine
	err error
}

func (m fakeMachine) StopServer(context.Context, appliance.StopMode) error { return m.err }

func (fakeMachine) Layout() appliance.Layout { return appliance.Layout{} }

func (m fakeMachine) ReadFile(context.Context, string) ([]byte, error) { return nil, m.err }

func (m fakeMachine) WriteFile(context.Context, string, []byte, fs.FileMode) error { return m.err }

func (m fakeMachine) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{}, m.err
}

// fakeProvider notes which machines are powered off.
type fakeProvider struct {
	appliance.Provider
	off []string
}

func (p *fakeProvider) StopMachine(_ context.Context, _ appliance.Cluster, m appliance.Member, _ appliance.Report) error {
	p.off = append(p.off, m.Name)
	return nil
}

func (*fakeProvider) SetSize(context.Context, appliance.Cluster, appliance.Member, appliance.MachineSize) error {
	return nil
}

func (*fakeProvider) ApplySize(context.Context, appliance.Cluster, appliance.Member, appliance.MachineSize, appliance.Report) (bool, error) {
	return false, nil
}

func TestStopMemberPowersOffUnreachableMachine(t *testing.T) {
	t.Parallel()
	unreachable := appliance.NewProblem(appliance.ErrMemberUnreachable, "no answer")
	for name, c := range map[string]struct {
		err   error
		place appliance.Placement
		off   bool
	}{
		"a machine that answers":     {place: appliance.PlacementVM},
		"a machine that is silent":   {err: unreachable, place: appliance.PlacementVM, off: true},
		"another host key":           {err: appliance.NewProblem(appliance.ErrGuestHostKey, "another key"), place: appliance.PlacementVM, off: true},
		"a server that doesn't stop": {err: appliance.NewProblem(appliance.ErrPostgresStop, "did not stop"), place: appliance.PlacementVM, off: true},
		"a foreign domain":           {err: appliance.NewProblem(appliance.ErrForeignObject, "not ours"), place: appliance.PlacementVM},
		"a member on the host":       {err: unreachable, place: appliance.PlacementLocal},
		"any other error":            {err: errors.New("other"), place: appliance.PlacementVM},
	} {
		p := &fakeProvider{}
		r := recipeOf(Config{}, p)
		err := r.stopMember(t.Context(), appliance.Cluster{}, appliance.Member{Name: "node1", Placement: c.place}, fakeMachine{err: c.err}, func(appliance.Progress) {})
		if off := len(p.off) == 1; off != c.off {
			t.Errorf("%s: powered off %v, want a power-off: %v", name, p.off, c.off)
		}
		if failed := err != nil; failed != (c.err != nil && !c.off) {
			t.Errorf("%s: stopMember returned %v", name, err)
		}
	}
}

func TestResizeStepsRestartPrimaryLast(t *testing.T) {
	t.Parallel()
	vm := func(name string) appliance.Member {
		return appliance.Member{Name: name, Placement: appliance.PlacementVM}
	}
	c := appliance.Cluster{Primary: "node0", Members: []appliance.Member{vm("node0"), vm("node1"), vm("node2"), vm("node3")}}
	ch := appliance.Change{Size: &appliance.MachineSize{MemoryMiB: 2048}, Remove: []appliance.Member{vm("node3")}}
	r := recipeOf(Config{}, &fakeProvider{})
	r.resizeSteps(c, ch.Without(c), ch)
	var ids, before []string
	for _, s := range r.steps() {
		if before != nil && !slices.Contains(s.After, before[0]) {
			t.Errorf("%s doesn't wait for %s", s.ID, before[0])
		}
		ids, before = append(ids, s.ID), []string{s.ID}
	}
	if !slices.Equal(ids, []string{"resize/node1", "resize/node2", "resize/node0"}) {
		t.Errorf("steps %q, want the primary last and no removed member", ids)
	}
	c.Members[0].Placement = appliance.PlacementLocal
	if got := r.resized(c, ch); len(got) != 2 {
		t.Errorf("resized members %v, want none on the host", got)
	}
}

// recipeOf returns a recipe with an empty graph.
func recipeOf(cfg Config, p appliance.Provider) *recipe {
	return &recipe{work: work{dataDirs{world: world{Planner: New(cfg), provider: p}}}, graph: &graph{}}
}

func TestNoCommitWaitsForMachineThatRestarts(t *testing.T) {
	t.Parallel()
	c := appliance.Cluster{Primary: "node0", Members: []appliance.Member{
		{Name: "node0", Placement: appliance.PlacementVM}, {Name: "node1", Placement: appliance.PlacementVM},
	}}
	for name, tc := range map[string]struct {
		size    appliance.MachineSize
		promise bool
		want    []string
	}{
		"more memory":                   {appliance.MachineSize{MemoryMiB: 2048}, true, []string{"weaken/node1", "resize/node1", "resize/node0"}},
		"more memory, nothing promised": {appliance.MachineSize{MemoryMiB: 2048}, false, []string{"resize/node1", "resize/node0"}},
		"a larger disk alone":           {appliance.MachineSize{DiskGiB: 20}, true, []string{"resize/node1", "resize/node0"}},
	} {
		r := recipeOf(Config{}, &fakeProvider{})
		r.decision.Promise = tc.promise
		r.resizeSteps(c, c, appliance.Change{Size: &tc.size})
		var ids []string
		for _, s := range r.steps() {
			if n := len(ids); n > 0 && !slices.Contains(s.After, ids[n-1]) {
				t.Errorf("%s: %s doesn't wait for %s", name, s.ID, ids[n-1])
			}
			ids = append(ids, s.ID)
		}
		if !slices.Equal(ids, tc.want) {
			t.Errorf("%s: steps %q, want %q", name, ids, tc.want)
		}
	}
}

func TestPromotionWaitsForNoMarkInMachineThatWasFenced(t *testing.T) {
	t.Parallel()
	asked := errors.New("the machine was asked")
	for _, tc := range []struct {
		place  appliance.Placement
		fenced bool
		want   error
	}{
		{appliance.PlacementVM, true, nil},
		{appliance.PlacementVM, false, asked},
		{appliance.PlacementLocal, true, asked},
	} {
		p := primaryChange{fenced: &sync.Map{}}
		p.work = recipeOf(Config{}, &oneMachine{machine: fakeMachine{err: asked}}).work
		if tc.fenced {
			p.ended("node0")
		}
		f := facts{cluster: appliance.Cluster{Members: []appliance.Member{{Name: "node0", Placement: tc.place}}}}
		if err := p.command(t.Context(), f, ha.Step{}, ha.Command{Verb: ha.Mark, Member: "node0"}); !errors.Is(err, tc.want) {
			t.Errorf("%s, fenced %t: got %v, want %v", tc.place, tc.fenced, err, tc.want)
		}
	}
}
