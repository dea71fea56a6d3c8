package providertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Fixture is a provider to test, with the properties that the contract leaves
// open.
type Fixture struct {
	Provider appliance.Provider
	// Spec is what the test's clusters are created from; the name is replaced.
	Spec appliance.Spec
	// PostgresBin is the directory of PostgreSQL 17's programs on this
	// machine, for providers whose members run them.
	PostgresBin string
	// Leftovers lists the remaining objects of a cluster's members on this
	// machine: files, processes, domains, volumes, cgroups.
	Leftovers func(t *testing.T, c appliance.Cluster) []string
	// PutForeign puts a foreign object in the place of the member's machine, and
	// returns a check that the object is unchanged.
	PutForeign func(t *testing.T, c appliance.Cluster, m appliance.Member) (untouched func(t *testing.T))
	// OwnMachines is set if members have machines of their own. A fence powers
	// the machine off, and the machine's systemd kills the backends of a dead
	// postmaster.
	OwnMachines bool
	// Kill ends the member's server from outside, as a crash does: its first process,
	// or the machine.
	Kill func(t *testing.T, c appliance.Cluster, m appliance.Member)
	// Halts are the ways to take the processor from the member's server.
	Halts []Halt
	// Patience bounds one step, start or stop. Zero: one minute.
	Patience time.Duration
}

// Halt takes the processor from a member's server, and resume gives it back.
type Halt struct {
	Name string
	Do   func(t *testing.T, c appliance.Cluster, m appliance.Member) (resume func())
}

// Factory creates a separate fixture for each part of the contract.
type Factory func(t *testing.T) Fixture

// Run checks the whole contract. It needs a real PostgreSQL 17.
func Run(t *testing.T, f Factory) {
	t.Helper()
	t.Run("Allocate", func(t *testing.T) { t.Parallel(); testAllocate(t, f(t)) })
	t.Run("Foreign", func(t *testing.T) { t.Parallel(); testForeign(t, f(t)) })
	t.Run("Life", func(t *testing.T) { t.Parallel(); testLife(t, f(t)) })
}

// context bounds one call of the provider.
func (f Fixture) context(t *testing.T) context.Context {
	t.Helper()
	patience := f.Patience
	if patience == 0 {
		patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// soon bounds a short wait; the bound grows with Patience.
func (f Fixture) soon() time.Duration { return max(10*time.Second, f.Patience/30) }

// cluster allocates a new cluster beside the others.
func (f Fixture) cluster(t *testing.T, name string, members int, others ...appliance.Member) appliance.Cluster {
	t.Helper()
	spec := f.Spec
	spec.Name = name
	standbys := members - 1
	spec.Standbys = &standbys
	c := appliance.Cluster{
		Name: name, UUID: uuid.NewString(), Spec: spec.WithDefaults(), Phase: appliance.PhaseCreating,
		Primary: appliance.MemberName(0), PostgresBin: f.PostgresBin,
	}
	got, err := f.Provider.Allocate(f.context(t), appliance.AllocateRequest{
		Spec: c.Spec, Cluster: c.Name, UUID: c.UUID, Names: memberNames(0, members), Others: others,
	})
	if err != nil {
		t.Fatalf("Allocate: %v", err)
	}
	c.Members = got
	return c
}

func memberNames(from, n int) []string {
	var out []string
	for i := from; i < from+n; i++ {
		out = append(out, appliance.MemberName(i))
	}
	return out
}

// destroy removes the cluster in any state.
func (f Fixture) destroy(t *testing.T, c appliance.Cluster) {
	t.Helper()
	for _, s := range f.Provider.DestroySteps(c, c.Members) {
		if err := s.Do(f.context(t), ignore); err != nil {
			t.Errorf("step %s: %v", s.ID, err)
		}
	}
}

func ignore(appliance.Progress) {}

// checkPlan checks what the runner requires: unique ids, and each step after the
// steps that it needs.
func checkPlan(t *testing.T, steps []appliance.Step) {
	t.Helper()
	var seen []string
	for _, s := range steps {
		if s.Title == "" || s.Do == nil || s.Done == nil {
			t.Errorf("step %q lacks a title, Do or Done", s.ID)
		}
		if slices.Contains(seen, s.ID) {
			t.Errorf("step id %q twice", s.ID)
		}
		for _, a := range s.After {
			if !slices.Contains(seen, a) {
				t.Errorf("step %q comes after %q, which isn't before it", s.ID, a)
			}
		}
		seen = append(seen, s.ID)
	}
}

func requireStep(t *testing.T, steps []appliance.Step, kind appliance.StepKind, member string) {
	t.Helper()
	var last appliance.Step
	for _, s := range steps {
		if s.Member == member {
			last = s
		}
	}
	if want := string(kind) + "/" + member; last.Kind != kind || last.ID != want {
		t.Errorf("last step of member %q is %q of kind %q, want %q of kind %q", member, last.ID, last.Kind, want, kind)
	}
}

// perform runs every step like a runner that is killed repeatedly: perform starts
// the step with an ended context, interrupts it, and repeats it when it is done.
func (f Fixture) perform(t *testing.T, steps []appliance.Step) {
	t.Helper()
	for _, s := range steps {
		f.interrupt(t, s, 0)
		f.interrupt(t, s, 2*time.Millisecond)
		for range 2 {
			if err := s.Do(f.context(t), ignore); err != nil {
				t.Fatalf("step %s: %v", s.ID, err)
			}
			done, err := s.Done(f.context(t))
			if err != nil || !done {
				t.Fatalf("step %s: Done() = %v, %v after Do", s.ID, done, err)
			}
		}
	}
	for _, s := range steps {
		if done, err := s.Done(f.context(t)); err != nil || !done {
			t.Errorf("step %s: Done() = %v, %v after all steps", s.ID, done, err)
		}
	}
}

// interrupt ends the step's context after the given time. The step may still
// succeed; if it fails, its error must be the context's.
func (f Fixture) interrupt(t *testing.T, s appliance.Step, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(f.context(t))
	if after == 0 {
		cancel()
	} else {
		defer time.AfterFunc(after, cancel).Stop()
	}
	defer cancel()
	if err := s.Do(ctx, ignore); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("step %s with an ended context: %v, want context.Canceled in its chain", s.ID, err)
	}
}

// eventually polls until ok is true.
func (f Fixture) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := wait.Until(f.context(t), 20*time.Millisecond, func(context.Context) (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("%s: not in time: %v", what, err)
	}
}
