package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pgapp/appliance"
)

func begin(t *testing.T, s Store, op appliance.Operation, create *appliance.NewCluster, supersede string) {
	t.Helper()
	if err := s.Begin(t.Context(), appliance.Beginning{Operation: op, Create: create, Supersede: supersede}); err != nil {
		t.Fatalf("Begin(%s): %v", op.ID, err)
	}
}

// end saves the stored operation in a final state.
func end(t *testing.T, s Store, id string, state appliance.OperationState) {
	t.Helper()
	op, err := s.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	op.State = state
	if err := s.SaveOperation(t.Context(), op, false); err != nil {
		t.Fatalf("saving %s as %s: %v", id, state, err)
	}
}

func wantProblem(t *testing.T, what string, err error, id appliance.ErrorID) {
	t.Helper()
	if !appliance.IsProblem(err, id) {
		t.Errorf("%s: error %v, want a problem %s", what, err, id)
	}
}

func equal[T any](t *testing.T, what string, got, want T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(appliance.Problem{})); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}
