package plan_test

import (
	"testing"

	"pgapp/appliance"
)

func TestMayCancelUntilTheCandidateIsOnRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   appliance.OperationKind
		change appliance.PrimaryChange
		no     bool
	}{
		"looking":               {appliance.OpSwitchover, appliance.PrimaryChange{Phase: appliance.ChangeLooking}, false},
		"stopping":              {appliance.OpSwitchover, appliance.PrimaryChange{Phase: appliance.ChangeStopping}, false},
		"fencing":               {appliance.OpFailover, appliance.PrimaryChange{Phase: appliance.ChangeFencing}, false},
		"returning":             {appliance.OpFailover, appliance.PrimaryChange{Phase: appliance.ChangeReturning}, false},
		"promoting":             {appliance.OpFailover, appliance.PrimaryChange{Phase: appliance.ChangePromoting, To: "node1"}, true},
		"retracting":            {appliance.OpFailover, appliance.PrimaryChange{Phase: appliance.ChangeRetracting, To: "node1"}, true},
		"after one given up":    {appliance.OpFailover, appliance.PrimaryChange{Phase: appliance.ChangeElecting, Tried: []string{"node1"}}, true},
		"done":                  {appliance.OpSwitchover, appliance.PrimaryChange{Phase: appliance.ChangeDone, To: "node1"}, true},
		"restart, promoting":    {appliance.OpRestart, appliance.PrimaryChange{Phase: appliance.ChangePromoting, To: "node1"}, true},
		"restart, after change": {appliance.OpRestart, appliance.PrimaryChange{Phase: appliance.ChangeDone, To: "node1"}, false},
		"another's change":      {appliance.OpSwitchover, appliance.PrimaryChange{Operation: "older", Phase: appliance.ChangePromoting, To: "node1"}, false},
	} {
		w := newWorld(t, scenario{kind: c.kind, cluster: appliance.Cluster{Name: "main", Spec: appliance.Spec{Provider: appliance.ProviderLocal}}})
		w.begin(t)
		w.update(t, func(r *appliance.Cluster) {
			r.Change = &c.change
			if r.Change.Operation == "" {
				r.Change.Operation = w.op.ID
			}
		})
		err := w.planner.MayCancel(t.Context(), w.op)
		if (err != nil) != c.no || err != nil && !appliance.IsProblem(err, appliance.ErrConflict) {
			t.Errorf("%s: %v, want refused: %t", name, err, c.no)
		}
	}
}

func TestEndEndsOnlyAChangeThatHasDoneNothing(t *testing.T) {
	t.Parallel()
	for phase, want := range map[appliance.ChangePhase]appliance.ChangePhase{
		appliance.ChangeLooking:   appliance.ChangeCancelled,
		appliance.ChangeFencing:   appliance.ChangeFencing,
		appliance.ChangePromoting: appliance.ChangePromoting,
	} {
		w := newWorld(t, scenario{kind: appliance.OpSwitchover, cluster: appliance.Cluster{Name: "main", Spec: appliance.Spec{Provider: appliance.ProviderLocal}}})
		w.begin(t)
		w.update(t, func(r *appliance.Cluster) {
			r.Change = &appliance.PrimaryChange{Operation: w.op.ID, Phase: phase}
		})
		o := w.op
		o.State = appliance.OpFailed
		if _, err := w.planner.End(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if c, err := w.st.Cluster(t.Context(), "main"); err != nil || c.Change.Phase != want {
			t.Errorf("a failed operation leaves phase %s as %s, %v; want %s", phase, c.Change.Phase, err, want)
		}
	}
}
