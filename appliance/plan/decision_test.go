package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

func graph(steps []appliance.Step) string {
	var b strings.Builder
	for _, s := range steps {
		done := ""
		if s.Done != nil {
			done = "?"
		}
		after := slices.Compact(slices.Sorted(slices.Values(s.After)))
		fmt.Fprintf(&b, "%s%s [%s] %q after %s\n", s.ID, done, s.Member, s.Title, strings.Join(after, " "))
	}
	return b.String()
}

// TestPlanMatchesPreviewAfterChanges plans an operation as a dry run does, begins the
// operation, changes everything that the decision depends on, and plans again.
func TestPlanMatchesPreviewAfterChanges(t *testing.T) {
	t.Parallel()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c)
			preview, err := w.planner.Preview(t.Context(), w.op, c.cluster)
			if err != nil {
				t.Fatal(err)
			}
			want := graph(preview)
			w.begin(t)
			if got := w.planned(t); got != want {
				t.Errorf("plan after begin:\n%s\nwant the preview:\n%s", got, want)
			}
			w.hostPostgres = !w.hostPostgres
			if got := w.planned(t); got != want {
				t.Errorf("plan with another PostgreSQL on the host:\n%s\nwant:\n%s", got, want)
			}
			w.update(t, func(r *appliance.Cluster) {
				r.Initialised, r.SystemIdentifier, r.PostgresBin = true, "7", "/opt/pg/bin"
				if r.Phase == appliance.PhaseFailed {
					r.Phase = appliance.PhaseCreating
				}
				if ch := c.params.Change; ch != nil {
					*r = ch.Applied(*r)
				}
			})
			if got := w.planned(t); got != want {
				t.Errorf("plan after the record has changed:\n%s\nwant:\n%s", got, want)
			}
			w.update(t, func(r *appliance.Cluster) {
				if ch := c.params.Change; ch != nil {
					*r = ch.Without(*r)
				}
			})
			if got := w.planned(t); got != want {
				t.Errorf("plan after the removal of members:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestDoneWritesNothing calls Done of each step of each kind of operation, on empty
// machines and on machines whose data directories are not on record yet.
func TestDoneWritesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range cases() {
		for name, m := range map[string]appliance.Machine{"empty": &emptyMachine{}, "made": &madeMachine{}} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, c)
				w.machine = m
				w.begin(t)
				before := w.stored(t)
				steps, err := w.planner.Plan(t.Context(), w.op)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range onlyObserving(steps) {
					if s.Done != nil {
						_, _ = s.Done(t.Context()) // Done may fail here, but must not write
					}
				}
				if after := w.stored(t); after != before {
					t.Errorf("the store has changed:\n%s\nwas:\n%s", after, before)
				}
			})
		}
	}
}

// TestPlanWithOtherTemplateClonesStandbys plans an operation that began with
// another program's template: standbys are cloned step by step, and the standbys that
// run apart follow the primary.
func TestPlanWithOtherTemplateClonesStandbys(t *testing.T) {
	t.Parallel()
	for _, c := range cases() {
		if !c.template || c.cluster.Phase != appliance.PhaseCreating {
			continue
		}
		w := newWorld(t, c)
		w.begin(t)
		w.template = "another"
		for name, change := range map[string]func(){
			"resumed":               func() {},
			"decided anew":          func() { w.op.Decision = nil },
			"of an older program":   func() { w.op.Decision = nil; w.update(t, func(r *appliance.Cluster) { r.Template = "" }) },
			"with a copied primary": func() { w.update(t, func(r *appliance.Cluster) { r.Initialised = true }) },
		} {
			w.update(t, func(r *appliance.Cluster) {
				r.SystemIdentifier, r.Template, r.PostgresBin, r.PostgresTree = "7", "T", "/opt/pg/bin", true
			})
			change()
			if w.op.Decision == nil {
				d, err := w.planner.Decide(t.Context(), w.op)
				if err != nil {
					t.Fatal(err)
				}
				w.op.Decision = &d
			}
			got := w.planned(t)
			if strings.Contains(got, "identity") || !strings.Contains(got, "clone/node1? [node1] \"clone the standby\" after machine/node1 slots\n") ||
				!strings.Contains(got, "follow/node1") {
				t.Errorf("%s: want a clone without template and a follow step, got:\n%s", name, got)
			}
		}
	}
}

// initialise returns the step that makes the primary's data directory.
func (w *world) initialise(t *testing.T) appliance.Step {
	t.Helper()
	steps, err := w.planner.Plan(t.Context(), w.op)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(steps, func(s appliance.Step) bool { return s.ID == "init/node0" })
	return steps[i]
}

// TestInitdbDropsUnusedIdentifier has an identifier on record that was chosen for
// copies of a template; the program no longer has this template.
func TestInitdbDropsUnusedIdentifier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scenario{"", appliance.OpUp, appliance.OperationParams{}, creating(), true})
	w.machine, w.template = &initdbMachine{}, ""
	w.begin(t)
	w.update(t, func(c *appliance.Cluster) { c.SystemIdentifier, c.Template = "8", "T" })
	if err := w.initialise(t).Do(t.Context(), func(appliance.Progress) {}); err != nil {
		t.Fatal(err)
	}
	c, err := w.st.Cluster(t.Context(), "main")
	if err != nil || c.SystemIdentifier != "7" || c.Template != "" || !c.Initialised {
		t.Errorf("the record is %+v, %v", c, err)
	}
}

// TestInitialiseRefusesLostPrimary has a recorded primary whose data directory is gone,
// with a template and without.
func TestInitialiseRefusesLostPrimary(t *testing.T) {
	t.Parallel()
	for _, template := range []bool{true, false} {
		w := newWorld(t, scenario{"", appliance.OpUp, appliance.OperationParams{}, creating(), template})
		w.begin(t)
		w.update(t, func(c *appliance.Cluster) { c.SystemIdentifier, c.Initialised = "8", true })
		s := w.initialise(t)
		done, err := s.Done(t.Context())
		if err == nil && !done {
			err = s.Do(t.Context(), func(appliance.Progress) {})
		}
		if !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
			t.Errorf("with a template (%v): got %v, want a foreign data directory", template, err)
		}
	}
}
