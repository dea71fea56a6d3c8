package plan_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
	"pgapp/store"
)

// scenario is an operation on a cluster.
type scenario struct {
	name     string
	kind     appliance.OperationKind
	params   appliance.OperationParams
	cluster  appliance.Cluster
	template bool
}

func members(p appliance.Placement, names ...string) []appliance.Member {
	var out []appliance.Member
	for i, n := range names {
		out = append(out, appliance.Member{Name: n, Placement: p, Host: "127.0.0.1", Port: 2 + i, Slot: n})
	}
	return out
}

func creating() appliance.Cluster {
	return appliance.Cluster{
		Name: "main", UUID: "u", Primary: "node0", Phase: appliance.PhaseCreating, Epoch: 1, Revision: 1,
		Spec:    appliance.Spec{Name: "main", Provider: appliance.ProviderLocal, Dataset: "pagila", Database: "pagila"},
		Members: members(appliance.PlacementLocal, "node0", "node1", "node2", "node3"),
	}
}

func creatingVMs() appliance.Cluster {
	c := creating()
	c.Spec.Provider, c.Spec.SQL = appliance.ProviderLibvirt, []string{"/a.sql"}
	c.Members = members(appliance.PlacementVM, "node0", "node1", "node2")
	return c
}

func with(c appliance.Cluster, change func(*appliance.Cluster)) appliance.Cluster {
	change(&c)
	return c
}

func ready(c *appliance.Cluster) {
	c.Phase, c.Initialised, c.SystemIdentifier = appliance.PhaseReady, true, "7"
}

func cases() []scenario {
	type params = appliance.OperationParams
	local, vms := with(creating(), ready), with(creatingVMs(), ready)
	failed := with(creating(), func(c *appliance.Cluster) { c.Phase = appliance.PhaseFailed })
	delayed := with(creating(), func(c *appliance.Cluster) {
		c.Spec.Parameters = map[string]string{"recovery_min_apply_delay": "5min"}
	})
	some := with(with(creating(), ready), func(c *appliance.Cluster) { c.Members[2].WantStopped = true })
	headless := with(with(creating(), ready), func(c *appliance.Cluster) { c.Members[0].WantStopped = true })
	marked := with(some, func(c *appliance.Cluster) {
		c.Members = slices.Clone(c.Members)
		c.Members[1].Return, c.Members[3].Return = appliance.WayLook, appliance.WayRewind
	})
	quorum := func(c appliance.Cluster) appliance.Cluster {
		return with(c, func(c *appliance.Cluster) { c.Spec.Durability = appliance.DurabilityQuorum })
	}
	sync := &appliance.Change{Standbys: 3, Durability: appliance.DurabilityQuorum}
	limits := map[string]string{"max_connections": "50"}
	add := &appliance.Change{Standbys: 4, Add: members(appliance.PlacementLocal, "node4")}
	addVM := &appliance.Change{Standbys: 3, Add: members(appliance.PlacementVM, "node3")}
	less := &appliance.Change{Standbys: 1, Remove: []appliance.Member{local.Members[3], local.Members[2]}}
	lessVM := &appliance.Change{Standbys: 1, Remove: []appliance.Member{vms.Members[2]}}
	set := &appliance.Change{Standbys: 3, SetParameters: true, Parameters: limits, Restart: []string{"max_connections"}}
	all := &appliance.Change{
		Standbys: 2, Add: members(appliance.PlacementVM, "node3"), Remove: []appliance.Member{vms.Members[2]}, SetParameters: true,
		Parameters: limits, Restart: []string{"max_connections"}, Size: &appliance.MachineSize{MemoryMiB: 2048},
	}
	return []scenario{
		{"up, step by step", appliance.OpUp, params{}, creating(), false},
		{"up, from the template", appliance.OpUp, params{}, creating(), true},
		{"up, in virtual machines", appliance.OpUp, params{}, creatingVMs(), false},
		{"up, with a delay", appliance.OpUp, params{}, delayed, false},
		{"up again after a failure", appliance.OpUp, params{WantRunning: true}, failed, true},
		{"up after a failure, with more", appliance.OpUp, params{WantRunning: true, Change: add}, failed, true},
		{"up, nothing to change", appliance.OpUp, params{WantRunning: true}, local, false},
		{"up, more standbys", appliance.OpUp, params{Change: add}, local, false},
		{"up, fewer standbys", appliance.OpUp, params{Change: less}, local, false},
		{"up, other parameters", appliance.OpUp, params{WantRunning: true, Change: set}, local, false},
		{"up, all in virtual machines", appliance.OpUp, params{Change: all}, vms, false},
		{"scale up", appliance.OpScale, params{Change: add}, local, false},
		{"scale up beside a stopped one", appliance.OpScale, params{Change: add}, some, false},
		{"scale up virtual machines", appliance.OpScale, params{Change: addVM}, vms, false},
		{"scale down", appliance.OpScale, params{Change: less}, local, false},
		{"scale down virtual machines", appliance.OpScale, params{Change: lessVM}, vms, false},
		{"start", appliance.OpStart, params{}, local, false},
		{"start the primary", appliance.OpStart, params{Member: "node0"}, some, false},
		{"start a standby", appliance.OpStart, params{Member: "node1"}, local, false},
		{"start a standby without its primary", appliance.OpStart, params{Member: "node1"}, headless, false},
		{"start what should run", appliance.OpStart, params{KeepStopped: true}, some, false},
		{"start what should run without the primary", appliance.OpStart, params{KeepStopped: true}, headless, false},
		{"stop", appliance.OpStop, params{}, local, false},
		{"stop a standby", appliance.OpStop, params{Member: "node1"}, local, false},
		{"restart", appliance.OpRestart, params{}, local, false},
		{"restart the primary", appliance.OpRestart, params{Member: "node0"}, local, false},
		{"restart a standby", appliance.OpRestart, params{Member: "node1"}, local, false},
		{"reinit", appliance.OpReinit, params{Member: "node1"}, local, false},
		{"reinit a virtual machine", appliance.OpReinit, params{Member: "node1"}, vms, false},
		{"rejoin", appliance.OpRejoin, params{}, marked, false},
		{"rejoin one", appliance.OpRejoin, params{Member: "node3"}, marked, false},
		{"up, with quorum durability", appliance.OpUp, params{}, quorum(creating()), false},
		{"up, to quorum durability", appliance.OpUp, params{Change: sync}, local, false},
		{"scale up under quorum", appliance.OpScale, params{Change: add}, quorum(local), false},
		{"scale down under quorum", appliance.OpScale, params{Change: less}, quorum(local), false},
		{"start under quorum", appliance.OpStart, params{}, quorum(local), false},
		{"start what should run under quorum", appliance.OpStart, params{KeepStopped: true}, quorum(some), false},
		{"start a standby under quorum", appliance.OpStart, params{Member: "node1"}, quorum(local), false},
		{"stop under quorum", appliance.OpStop, params{}, quorum(local), false},
		{"stop a standby under quorum", appliance.OpStop, params{Member: "node1"}, quorum(local), false},
		{"restart under quorum", appliance.OpRestart, params{}, quorum(local), false},
		{"restart a standby under quorum", appliance.OpRestart, params{Member: "node1"}, quorum(local), false},
		{"reinit under quorum", appliance.OpReinit, params{Member: "node1"}, quorum(local), false},
		{"rejoin under quorum", appliance.OpRejoin, params{}, quorum(marked), false},
		{"switchover under quorum", appliance.OpSwitchover, params{}, quorum(local), false},
		{"destroy", appliance.OpDestroy, params{}, local, false},
		{"adopt", appliance.OpAdopt, params{Adopt: &appliance.AdoptDecision{}}, local, false},
	}
}

// world holds a planner, its store, and what the planner's decisions depend on.
type world struct {
	st           *store.Store
	planner      *plan.Planner
	op           appliance.Operation
	cluster      appliance.Cluster
	machine      appliance.Machine
	hostPostgres bool
	template     string
}

// newWorld makes a world, and decides the scenario's operation.
func newWorld(t *testing.T, c scenario) *world {
	t.Helper()
	w := &world{cluster: c.cluster, machine: &emptyMachine{}, hostPostgres: !c.template}
	if c.template {
		w.template = "T"
	}
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if w.st, err = store.Open(t.Context(), dir, store.Options{Lock: lock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.st.Close(), lock.Release() })
	p := guardedProvider{stepProvider{}, t, func(appliance.Member) appliance.Machine { return w.machine }, nil}
	sessions := &postgres.Sessions{}
	w.planner = plan.New(plan.Config{
		Store: guardedStore{w.st, t, nil}, Sessions: sessions, Observer: observe.New(sessions),
		Providers:    map[appliance.ProviderKind]appliance.Provider{appliance.ProviderLocal: p, appliance.ProviderLibvirt: p},
		HostPostgres: func(context.Context) (bool, error) { return w.hostPostgres, nil },
		Binaries: func(context.Context, appliance.Spec, appliance.PostgresOrigin) (tree.Binaries, error) {
			return tree.Binaries{}, tree.ErrMissing
		},
		Template: func(appliance.Spec) *template.Template {
			if w.template == "" {
				return nil
			}
			return &template.Template{Manifest: template.Manifest{SHA256: w.template}}
		},
	})
	w.op = appliance.Operation{ID: "op", Cluster: c.cluster.Name, Kind: c.kind, Params: c.params, State: appliance.OpRunning}
	d, err := w.planner.DecideOn(t.Context(), w.op, c.cluster)
	if err != nil {
		t.Fatal(err)
	}
	if d.Parallel > 0 {
		d.Parallel = 1 // independent of this machine's processors
	}
	w.op.Decision = &d
	return w
}

func (w *world) begin(t *testing.T) {
	t.Helper()
	create := &appliance.NewCluster{Cluster: w.cluster, Secrets: appliance.GenerateSecrets()}
	if err := w.st.Begin(t.Context(), appliance.Beginning{Operation: w.op, Create: create}); err != nil {
		t.Fatal(err)
	}
}

// planned plans the journaled operation and returns its graph.
func (w *world) planned(t *testing.T) string {
	t.Helper()
	o, err := w.st.Operation(t.Context(), w.op.ID)
	if err != nil {
		t.Fatal(err)
	}
	o.Decision = w.op.Decision
	steps, err := w.planner.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return graph(steps)
}

func (w *world) update(t *testing.T, change func(*appliance.Cluster)) {
	t.Helper()
	if _, err := w.st.UpdateCluster(t.Context(), w.cluster.Name, func(c *appliance.Cluster) error {
		change(c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// stored returns the stored cluster and operation as JSON.
func (w *world) stored(t *testing.T) string {
	t.Helper()
	c, err := w.st.Cluster(t.Context(), w.cluster.Name)
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.st.Operation(t.Context(), w.op.ID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(struct {
		C appliance.Cluster
		O appliance.Operation
	}{c, o})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// stepProvider returns the same steps as the real providers.
type stepProvider struct{ appliance.Provider }

func (stepProvider) CreateSteps(_ appliance.Cluster, ms []appliance.Member) []appliance.Step {
	steps := []appliance.Step{{ID: "host", Title: "check this machine", Kind: appliance.StepHost}}
	for _, m := range ms {
		disk := appliance.Step{ID: "disk/" + m.Name, Member: m.Name}
		steps = append(steps, disk, appliance.Step{ID: "machine/" + m.Name, Member: m.Name, Kind: appliance.StepMachine, After: []string{"host", disk.ID}})
	}
	return steps
}

func (stepProvider) DestroySteps(_ appliance.Cluster, ms []appliance.Member) []appliance.Step {
	var steps []appliance.Step
	var after []string
	for _, m := range ms {
		steps = append(steps, appliance.Step{ID: "remove/" + m.Name, Member: m.Name, Kind: appliance.StepRemove})
		after = append(after, "remove/"+m.Name)
	}
	return append(steps, appliance.Step{ID: "remove-cluster", After: after})
}

// emptyMachine has no files, and every command finds nothing.
type emptyMachine struct{ appliance.Machine }

func (*emptyMachine) Layout() appliance.Layout {
	return appliance.Layout{BinDir: "/opt/pg/bin", DataDir: "/srv/data", SocketDir: "/srv/run", ConfDir: "/srv/conf"}
}

func (*emptyMachine) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{Stdout: []byte("absent\n")}, nil
}

func (*emptyMachine) ReadFile(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (*emptyMachine) ServerRunning(context.Context) (bool, error) { return false, nil }

// madeMachine has a data directory and a server.
type madeMachine struct{ emptyMachine }

func (*madeMachine) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{Stdout: []byte("Database system identifier: 7\nLatest checkpoint's TimeLineID: 1\n")}, nil
}

func (*madeMachine) ReadFile(_ context.Context, name string) ([]byte, error) {
	if path.Base(name) == "PG_VERSION" {
		return []byte("17\n"), nil
	}
	return nil, fs.ErrNotExist
}

func (*madeMachine) ServerRunning(context.Context) (bool, error) { return true, nil }

// initdbMachine has a data directory once initdb has run.
type initdbMachine struct {
	madeMachine
	made bool
}

func (m *initdbMachine) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	text := strings.Join(c.Argv, " ")
	switch {
	case path.Base(c.Argv[0]) == "initdb":
		m.made = true
		return appliance.Result{}, nil
	case strings.Contains(text, "pg_controldata") && m.made:
		return m.madeMachine.Run(ctx, c)
	case strings.Contains(text, "pg_controldata"):
		return m.emptyMachine.Run(ctx, c)
	}
	return appliance.Result{Stdout: []byte("ready\n")}, nil
}

func (*initdbMachine) WriteFile(context.Context, string, []byte, fs.FileMode) error { return nil }
