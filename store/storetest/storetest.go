// Package storetest holds the contract of [appliance.Records] and [appliance.Journal] as a test that
// every implementation passes.
package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
)

// Store is a store under test.
type Store struct {
	appliance.Records
	appliance.Journal
}

// Run tests the store that open makes; open is called once a case, and cleans
// up after itself.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Store){
		"absent is not found":              absent,
		"begin creates":                    beginCreates,
		"begin refuses":                    beginRefuses,
		"refused begin changes nothing":    beginAtomic,
		"begin changes the record":         beginRecords,
		"supersede":                        supersede,
		"supersede one that has ended":     supersedeEnded,
		"save":                             save,
		"an end is final":                  endIsFinal,
		"save with removal":                saveRemoves,
		"update cluster":                   updateCluster,
		"revision leaves out":              revisionLeavesOut,
		"failed updates change nothing":    failedUpdates,
		"secrets":                          secrets,
		"order and filter of operations":   order,
		"one of many beginners wins":       beginRace,
		"concurrent updates are all there": updateRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// NewOperation makes a running operation.
func NewOperation(id, cluster string) appliance.Operation {
	return appliance.Operation{
		ID: id, Cluster: cluster, Kind: appliance.OpUp, State: appliance.OpRunning, Build: "test",
		CreatedAt: time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC),
		Steps: []appliance.StepRecord{
			{ID: "allocate", Title: "Allocate", State: appliance.StepDone, Seconds: 0.25},
			{ID: "clone/node1", Title: "Clone", Member: "node1", State: appliance.StepRunning, Progress: appliance.Progress{BytesDone: 5}},
		},
	}
}

// NewCluster makes a cluster with one secret.
func NewCluster(name string) *appliance.NewCluster {
	return &appliance.NewCluster{
		Cluster: appliance.Cluster{
			Name: name, UUID: "uuid-" + name, Phase: appliance.PhaseCreating, Primary: "node0", Epoch: 1,
			Spec:    appliance.Spec{Name: name, Provider: appliance.ProviderLocal},
			Members: []appliance.Member{{Name: "node0", Host: "127.0.122.1", Port: 5432}, {Name: "node1", Slot: "node1"}},
		},
		Secrets: appliance.Secrets{Values: map[string]appliance.Secret{appliance.SecretApp: appliance.NewSecret("s3cr3t")}},
	}
}

func absent(t *testing.T, s Store) {
	ctx := t.Context()
	_, e1 := s.Cluster(ctx, "main")
	_, e2 := s.UpdateCluster(ctx, "main", func(*appliance.Cluster) error { return nil })
	_, e3 := s.Secrets(ctx, "main")
	e4 := s.UpdateSecrets(ctx, "main", func(*appliance.Secrets) error { return nil })
	e5 := s.SaveOperation(ctx, NewOperation("op1", "main"), false)
	_, e6 := s.Operation(ctx, "op1")
	_, e7 := s.Running(ctx, "main")
	e8 := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op1", "main")})
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8} {
		wantProblem(t, fmt.Sprintf("call %d", i+1), err, appliance.ErrNotFound)
	}
	cs, err := s.Clusters(ctx)
	ops, err2 := s.Operations(ctx, "")
	if len(cs) != 0 || len(ops) != 0 || err != nil || err2 != nil {
		t.Errorf("an empty store has clusters %v (%v) and operations %v (%v)", cs, err, ops, err2)
	}
}

func beginCreates(t *testing.T, s Store) {
	ctx := t.Context()
	op, nc := NewOperation("op1", "main"), NewCluster("main")
	begin(t, s, op, nc, "")
	c, err := s.Cluster(ctx, "main")
	equal(t, "cluster", c, nc.Cluster, err)
	sec, err := s.Secrets(ctx, "main")
	if got := sec.Get(appliance.SecretApp).Reveal(); got != "s3cr3t" || err != nil {
		t.Errorf("secret = %q, %v", got, err)
	}
	got, err := s.Running(ctx, "main")
	equal(t, "running operation", got, op, err)
	got, err = s.Operation(ctx, "op1")
	equal(t, "operation", got, op, err)
}

func beginRefuses(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	for name, supersede := range map[string]string{"none": "", "another": "op9"} {
		err := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Supersede: supersede})
		wantProblem(t, name, err, appliance.ErrOperationRunning)
		if p := appliance.AsProblem(err); p != nil && p.Operation != "op1" {
			t.Errorf("superseding %s: the problem names %q, want op1", name, p.Operation)
		}
	}
	err := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Create: NewCluster("main")})
	wantProblem(t, "create while one runs", err, appliance.ErrOperationRunning)
	end(t, s, "op1", appliance.OpSucceeded)
	err = s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Create: NewCluster("main")})
	wantProblem(t, "create again", err, appliance.ErrConflict)
	err = s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op1", "main")})
	wantProblem(t, "same id again", err, appliance.ErrConflict)
	begin(t, s, NewOperation("op1b", "other"), NewCluster("other"), "")
}

func beginAtomic(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	nc := NewCluster("main")
	nc.Cluster.Phase = appliance.PhaseFailed
	err := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Create: nc, Supersede: "op1"})
	wantProblem(t, "superseding and creating what is there", err, appliance.ErrConflict)
	got, err := s.Running(ctx, "main")
	equal(t, "running operation", got, NewOperation("op1", "main"), err)
	c, err := s.Cluster(ctx, "main")
	equal(t, "cluster", c, NewCluster("main").Cluster, err)
	_, err = s.Operation(ctx, "op2")
	wantProblem(t, "the refused operation", err, appliance.ErrNotFound)
}

func supersede(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	begin(t, s, NewOperation("op2", "main"), nil, "op1")
	old, err := s.Operation(ctx, "op1")
	if err != nil || old.State != appliance.OpSuperseded || old.EndedAt == nil || old.Revision != 1 {
		t.Errorf("the superseded operation is %s, ended %v, revision %d (%v)", old.State, old.EndedAt, old.Revision, err)
	}
	got, err := s.Running(ctx, "main")
	equal(t, "running operation", got, NewOperation("op2", "main"), err)
	wantProblem(t, "saving the superseded", s.SaveOperation(ctx, NewOperation("op1", "main"), false), appliance.ErrConflict)
	got, err = s.Running(ctx, "main")
	equal(t, "running operation", got, NewOperation("op2", "main"), err)
}

func supersedeEnded(t *testing.T, s Store) {
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	end(t, s, "op1", appliance.OpFailed)
	begin(t, s, NewOperation("op2", "main"), nil, "op1")
	old, err := s.Operation(t.Context(), "op1")
	if err != nil || old.State != appliance.OpFailed {
		t.Errorf("the ended operation is %s (%v), want failed", old.State, err)
	}
}

func save(t *testing.T, s Store) {
	ctx := t.Context()
	op := NewOperation("op1", "main")
	begin(t, s, op, NewCluster("main"), "")
	op.Steps[1].State = appliance.StepFailed
	op.Error = appliance.NewProblem(appliance.ErrClone, "cloning %q", "node1").WithHint("try again")
	op.Revision = 7
	for range 2 { // repeating is safe
		if err := s.SaveOperation(ctx, op, false); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Running(ctx, "main")
	equal(t, "running operation", got, op, err)
	ended := op.CreatedAt.Add(time.Minute)
	op.State, op.EndedAt = appliance.OpFailed, &ended
	for range 2 {
		if err := s.SaveOperation(ctx, op, false); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Running(ctx, "main")
	wantProblem(t, "running after the end", err, appliance.ErrNotFound)
	got, err = s.Operation(ctx, "op1")
	equal(t, "operation", got, op, err)
}

func endIsFinal(t *testing.T, s Store) {
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	end(t, s, "op1", appliance.OpCancelled)
	begin(t, s, NewOperation("op2", "main"), nil, "")
	for _, state := range []appliance.OperationState{appliance.OpRunning, appliance.OpSucceeded} {
		op := NewOperation("op1", "main")
		op.State = state
		wantProblem(t, string(state), s.SaveOperation(t.Context(), op, false), appliance.ErrConflict)
	}
	end(t, s, "op1", appliance.OpCancelled)
	got, err := s.Running(t.Context(), "main")
	equal(t, "running operation", got, NewOperation("op2", "main"), err)
}

func saveRemoves(t *testing.T, s Store) {
	ctx := t.Context()
	op := NewOperation("op1", "main")
	begin(t, s, op, NewCluster("main"), "")
	begin(t, s, NewOperation("op2", "other"), NewCluster("other"), "")
	op.State = appliance.OpSucceeded
	for range 2 {
		if err := s.SaveOperation(ctx, op, true); err != nil {
			t.Fatal(err)
		}
	}
	_, e1 := s.Cluster(ctx, "main")
	_, e2 := s.Secrets(ctx, "main")
	_, e3 := s.Running(ctx, "main")
	for i, err := range []error{e1, e2, e3} {
		wantProblem(t, fmt.Sprintf("call %d", i+1), err, appliance.ErrNotFound)
	}
	got, err := s.Operation(ctx, "op1")
	equal(t, "operation", got, op, err)
	if cs, err := s.Clusters(ctx); len(cs) != 1 || cs[0].Name != "other" || err != nil {
		t.Errorf("clusters = %v, %v; want other alone", cs, err)
	}
	// The next cluster of that name starts without the old one's secrets.
	nc := NewCluster("main")
	nc.Secrets = appliance.Secrets{}
	begin(t, s, NewOperation("op3", "main"), nc, "")
	if sec, err := s.Secrets(ctx, "main"); len(sec.Values) != 0 || sec.Values == nil || err != nil {
		t.Errorf("secrets of the new cluster: %d values, nil %t (%v)", len(sec.Values), sec.Values == nil, err)
	}
}

func updateCluster(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	want := NewCluster("main").Cluster
	for i := range uint64(3) {
		got, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error {
			c.Timeline++
			c.Primary += "x"
			c.Revision = 99 // not the caller's to set
			return nil
		})
		want.Timeline++
		want.Primary += "x"
		want.Revision = 1 + i
		equal(t, "returned cluster", got, want, err)
		got, err = s.Cluster(ctx, "main")
		equal(t, "stored cluster", got, want, err)
	}
}

func failedUpdates(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	refused := errors.New("refused")
	_, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error {
		c.Phase = appliance.PhaseReady
		return refused
	})
	if err != refused {
		t.Errorf("UpdateCluster = %v, want the change's own error", err)
	}
	err = s.UpdateSecrets(ctx, "main", func(sec *appliance.Secrets) error {
		sec.Values["x"] = appliance.NewSecret("x")
		return refused
	})
	if err != refused {
		t.Errorf("UpdateSecrets = %v, want the change's own error", err)
	}
	if _, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error { c.Name = "b"; return nil }); err == nil {
		t.Error("a change of the name was accepted")
	}
	c, err := s.Cluster(ctx, "main")
	equal(t, "cluster", c, NewCluster("main").Cluster, err)
	if sec, err := s.Secrets(ctx, "main"); len(sec.Values) != 1 || err != nil {
		t.Errorf("%d secrets (%v), want 1", len(sec.Values), err)
	}
}

func secrets(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	odd := "a\"b\\c\n\x00é\xff"
	if err := s.UpdateSecrets(ctx, "main", func(sec *appliance.Secrets) error {
		sec.Values["odd"] = appliance.NewSecret(odd)
		sec.Values["empty"] = appliance.NewSecret("")
		delete(sec.Values, appliance.SecretApp)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sec, err := s.Secrets(ctx, "main")
	if err != nil || len(sec.Values) != 2 || sec.Get("odd").Reveal() != odd {
		t.Errorf("%d secrets (%v), odd = %q, want %q", len(sec.Values), err, sec.Get("odd").Reveal(), odd)
	}
}

func order(t *testing.T, s Store) {
	ctx := t.Context()
	for i, id := range []string{"b", "c", "a", "d"} {
		name := []string{"main", "other"}[i%2]
		op := NewOperation(id, name)
		op.CreatedAt = op.CreatedAt.Add(time.Duration(i/3) * time.Second)
		var nc *appliance.NewCluster
		if i < 2 {
			nc = NewCluster(name)
		}
		begin(t, s, op, nc, "")
		end(t, s, id, appliance.OpSucceeded)
	}
	for cluster, want := range map[string][]string{"": {"d", "c", "b", "a"}, "main": {"b", "a"}, "other": {"d", "c"}, "none": nil} {
		ops, err := s.Operations(ctx, cluster)
		var got []string
		for _, op := range ops {
			got = append(got, op.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("operations of %q = %v (%v), want %v", cluster, got, err, want)
		}
	}
}

func beginRace(t *testing.T, s Store) {
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.Begin(t.Context(), appliance.Beginning{Operation: NewOperation(fmt.Sprint("op", i), "main"), Create: NewCluster("main")})
			if err == nil {
				won.Add(1)
				return
			}
			wantProblem(t, "loser", err, appliance.ErrOperationRunning)
		})
	}
	wg.Wait()
	ops, err := s.Operations(t.Context(), "")
	if won.Load() != 1 || len(ops) != 1 || err != nil {
		t.Errorf("%d winners, %d operations (%v); want one", won.Load(), len(ops), err)
	}
}

func updateRace(t *testing.T, s Store) {
	ctx := t.Context()
	const workers, rounds = 6, 8
	var wg sync.WaitGroup
	begin(t, s, NewOperation("op", "main"), NewCluster("main"), "")
	for w := range workers {
		name := fmt.Sprint("c", w)
		op := NewOperation("op-"+name, name)
		begin(t, s, op, NewCluster(name), "")
		wg.Go(func() {
			for i := range uint64(rounds) {
				_, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error { c.Epoch++; c.Primary += "x"; return nil })
				op.Revision = i + 1
				if err = errors.Join(err, s.SaveOperation(ctx, op, false)); err != nil {
					t.Error(err)
				}
				if got, err := s.Operation(ctx, op.ID); err != nil || got.Revision != i+1 {
					t.Errorf("operation %s has revision %d (%v), want %d", op.ID, got.Revision, err, i+1)
				}
			}
		})
	}
	wg.Wait()
	if c, err := s.Cluster(ctx, "main"); err != nil || c.Revision != workers*rounds || c.Epoch != 1+workers*rounds {
		t.Errorf("revision %d, epoch %d (%v); want %d updates", c.Revision, c.Epoch, err, workers*rounds)
	}
}
