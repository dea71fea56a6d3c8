package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/op"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
	"pgapp/store"
)

// host is a provider of which a test decides when and what it allocates. Its
// machines have neither a server nor a data directory.
type host struct {
	appliance.Provider // nil: the tests ask for nothing else
	allocate           func(context.Context, appliance.AllocateRequest) ([]appliance.Member, error)
}

func (h host) Allocate(ctx context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
	return h.allocate(ctx, r)
}

func (h host) Machine(appliance.Cluster, appliance.Member) appliance.Machine { return bare{} }

type bare struct{ appliance.Machine }

func (bare) Layout() appliance.Layout                    { return appliance.Layout{} }
func (bare) ServerRunning(context.Context) (bool, error) { return false, nil }
func (bare) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{Stdout: []byte("absent\n")}, nil
}

// at allocates every member at one address, on the ports from 5432 on that the
// other clusters leave free.
func at(address string) func(context.Context, appliance.AllocateRequest) ([]appliance.Member, error) {
	return func(_ context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
		var out []appliance.Member
		for port := 5432; len(out) < len(r.Names); port++ {
			if !slices.ContainsFunc(slices.Concat(r.Others, r.Existing), func(m appliance.Member) bool { return m.Port == port }) {
				out = append(out, appliance.Member{Name: r.Names[len(out)], Host: address, Port: port})
			}
		}
		return out, nil
	}
}

// desk is a controller over a real store and runner. Each operation has one
// step, which ends when finish is closed; an adoption has its own steps after it.
type desk struct {
	*Controller
	st     *store.Store
	runner *op.Runner
	finish chan struct{}
}

func newDesk(t *testing.T, h host) *desk {
	t.Helper()
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir, store.Options{Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{st: st, finish: make(chan struct{})}
	d.serve(t, h, nil)
	t.Cleanup(func() {
		d.runner.Close()
		if err := errors.Join(st.Close(), lock.Release()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// serve makes the runner and the controller, as a daemon does at its start.
func (d *desk) serve(t *testing.T, h host, crash func(string) error) {
	t.Helper()
	providers := map[appliance.ProviderKind]appliance.Provider{appliance.ProviderLocal: h}
	planner := plan.New(plan.Config{Store: d.st, Providers: providers, Adopted: func(ctx context.Context, cluster string) error {
		return Adopted(ctx, d.st, cluster)
	}, HostPostgres: func(context.Context) (bool, error) { return true, nil }})
	wait := appliance.Step{ID: "wait", Title: "wait", Do: func(ctx context.Context, _ appliance.Report) error {
		select {
		case <-d.finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	d.runner = op.New(context.WithoutCancel(t.Context()), op.Config{
		Store: d.st, Log: slog.New(slog.DiscardHandler), Crash: crash, Decide: planner.Decide,
		Plan: func(ctx context.Context, o appliance.Operation) ([]appliance.Step, error) {
			if o.Kind != appliance.OpAdopt {
				return []appliance.Step{wait}, nil
			}
			steps, err := planner.Plan(ctx, o)
			steps[0].After = []string{"wait"}
			return append([]appliance.Step{wait}, steps...), err
		},
		End: func(ctx context.Context, o appliance.Operation) (bool, error) {
			if o.Kind != appliance.OpAdopt {
				return false, nil
			}
			return planner.End(ctx, o)
		},
	})
	d.Controller = New(Config{
		Store: d.st, Runner: d.runner, Log: slog.New(slog.DiscardHandler), Settings: d.st, Observer: observe.New(&postgres.Sessions{}),
		Providers: providers, Decide: planner.DecideOn,
	})
}

// wish is a spec of a cluster with one standby.
func wish(name string) appliance.Spec {
	n := 1
	return appliance.Spec{Name: name, Provider: appliance.ProviderLocal, Standbys: &n}
}

// idle makes the cluster and waits until no operation runs on it.
func (d *desk) idle(t *testing.T, name string) appliance.Cluster {
	t.Helper()
	o, err := d.Up(t.Context(), wish(name), appliance.UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runner.Cancel(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	c, err := d.st.UpdateCluster(t.Context(), name, func(c *appliance.Cluster) error {
		c.Phase = appliance.PhaseReady
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRulingsHaveNoGap(t *testing.T) {
	t.Parallel()
	table := rulings()
	if len(table) != actCount {
		t.Errorf("%d rows for %d acts", len(table), actCount)
	}
	kinds := []appliance.OperationKind{
		appliance.OpUp, appliance.OpStart, appliance.OpStop, appliance.OpRestart, appliance.OpReinit, appliance.OpScale, appliance.OpDestroy,
		appliance.OpAdopt, appliance.OpSwitchover, appliance.OpFailover, appliance.OpRejoin,
	}
	for _, kind := range kinds {
		if a := actOf(appliance.Operation{Kind: kind}); table[a] == nil {
			t.Errorf("kind %s has no act", kind)
		}
	}
	for _, a := range []Act{actRevive, actMend, ActPrune, ActRestore, ActCompact} {
		if table[a] == nil {
			t.Errorf("act %s has no row", a)
		}
	}
	for _, request := range acts() {
		for _, running := range acts() {
			if r := table[request][running]; r < refused || r > waits {
				t.Errorf("no ruling for %s beside a running %s", request, running)
			}
		}
	}
}

func TestRuleBesideTheDaemonsOwnStart(t *testing.T) {
	t.Parallel()
	own := &appliance.Operation{ID: "own", Kind: appliance.OpStart, Params: appliance.OperationParams{KeepStopped: true}}
	users := &appliance.Operation{ID: "users", Kind: appliance.OpStart}
	// An adoption looks at what runs, nothing else may run beside these, and a
	// switchover or a rejoin needs the members that the start brings back.
	wait := []Act{Act(appliance.OpAdopt), Act(appliance.OpSwitchover), Act(appliance.OpRejoin), ActPrune, ActRestore, ActCompact}
	for _, a := range acts() {
		joined, supersede, err := rule(a, own, nil, a == actRevive)
		switch {
		case slices.Contains(wait, a):
			if !appliance.IsProblem(err, appliance.ErrOperationRunning) {
				t.Errorf("%s beside the daemon's own start: %v", a, err)
			}
		case err != nil || joined != (a == actRevive) || (supersede == "own") != (a != actRevive):
			t.Errorf("%s beside the daemon's own start: %t, %q, %v", a, joined, supersede, err)
		}
		if _, supersede, err := rule(a, users, nil, false); a == Act(appliance.OpDestroy) || a == Act(appliance.OpFailover) {
			if supersede != "users" || err != nil {
				t.Errorf("%s beside a user's start: %q, %v", a, supersede, err)
			}
		} else if !appliance.IsProblem(err, appliance.ErrOperationRunning) {
			t.Errorf("%s beside another start of a user: %v", a, err)
		}
	}
}

// TestMendEndsWhatWaitsForADeadPrimary has a mend begin beside each act.
func TestMendEndsWhatWaitsForADeadPrimary(t *testing.T) {
	t.Parallel()
	ends := []Act{Act(appliance.OpRejoin), Act(appliance.OpReinit), actRevive}
	for _, running := range acts() {
		o := &appliance.Operation{ID: "7", Kind: appliance.OperationKind(running)}
		if running == actRevive || running == actMend {
			o.Kind, o.Params = appliance.OpStart, appliance.OperationParams{KeepStopped: true, Fence: running == actMend}
		}
		_, supersede, err := rule(actMend, o, nil, false)
		if want := slices.Contains(ends, running); (supersede == "7") != want || (err == nil) != want {
			t.Errorf("beside %s: %q, %v", running, supersede, err)
		}
	}
}

func TestRefusedUpKeepsStoppedMembersStopped(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	before, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
		c.Members[1].WantStopped = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Submit(t.Context(), "main", appliance.OpRestart, appliance.OperationParams{Member: "node0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{}); !appliance.IsProblem(err, appliance.ErrOperationRunning) {
		t.Fatalf("up beside a restart: %v", err)
	}
	after, err := d.st.Cluster(t.Context(), "main")
	if err != nil || !after.Members[1].WantStopped || after.Revision != before.Revision {
		t.Errorf("after a refused up: %+v, %v; want revision %d with node1 stopped", after, err, before.Revision)
	}
}

func TestUpChangesTheRecordOnlyInSteps(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	before, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
		c.Members[1].WantStopped = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{})
	if err != nil || !o.Params.WantRunning {
		t.Fatalf("up of a stopped member: %+v, %v", o.Params, err)
	}
	if after, err := d.st.Cluster(t.Context(), "main"); err != nil || after.Revision != before.Revision {
		t.Errorf("the record changed outside of a step: revision %d, then %d, %v", before.Revision, after.Revision, err)
	}
}

func TestChangesWaitForTheClustersTurn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	leave, err := d.admission.enter(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	two := 2
	for name, change := range map[string]func(context.Context) error{
		"up": func(ctx context.Context) error { _, err := d.Up(ctx, wish("main"), appliance.UpOptions{}); return err },
		"scale": func(ctx context.Context) error {
			_, err := d.Scale(ctx, "main", appliance.ScaleWish{Standbys: &two})
			return err
		},
		"submit": func(ctx context.Context) error {
			_, err := d.Submit(ctx, "main", appliance.OpStop, appliance.OperationParams{})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := change(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s in another's turn: %v", name, err)
		}
		cancel()
	}
	leave()
	if _, err := d.Submit(t.Context(), "main", appliance.OpStop, appliance.OperationParams{}); err != nil {
		t.Errorf("a stop after the turn: %v", err)
	}
}

func TestUpIgnoresASlowHostOfAnotherCluster(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	free := at("127.0.0.1")
	d := newDesk(t, host{allocate: func(ctx context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
		members, err := free(ctx, r)
		if r.Cluster == "slow" {
			select {
			case asked <- struct{}{}:
				<-answer
			default: // the second time
			}
		}
		return members, err
	}})
	slow := make(chan error, 1)
	go func() {
		_, err := d.Up(t.Context(), wish("slow"), appliance.UpOptions{})
		slow <- err
	}()
	<-asked
	if _, err := d.Up(t.Context(), wish("quick"), appliance.UpOptions{}); err != nil {
		t.Fatalf("another cluster while a host is slow: %v", err)
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	var ports []int
	for _, name := range []string{"slow", "quick"} {
		c, err := d.st.Cluster(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Members {
			ports = append(ports, m.Port)
		}
	}
	slices.Sort(ports)
	if want := []int{5432, 5433, 5434, 5435}; !slices.Equal(ports, want) {
		t.Errorf("ports %v, want %v: both were offered the same", ports, want)
	}
}

func TestConcurrentUpsShareOneOperation(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	const callers = 8
	ids := make(chan string, callers)
	for range callers {
		go func() {
			o, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{})
			if err != nil {
				t.Error(err)
			}
			ids <- o.ID
		}()
	}
	first := <-ids
	for range callers - 1 {
		if id := <-ids; id != first {
			t.Errorf("operation %s beside %s", id, first)
		}
	}
}
