package daemon

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/store"
	"pgapp/store/archive"
)

// newStateAdmin administers the state of a home in which an up runs. Renewed
// counts how often the state was replaced.
func newStateAdmin(t *testing.T) (s *stateAdmin, st *store.Store, renewed *int) {
	t.Helper()
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if st, err = store.Open(t.Context(), dir, store.Options{Lock: lock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(st.Close(), lock.Release()); err != nil {
			t.Error(err)
		}
	})
	o := appliance.Operation{ID: "up1", Cluster: "main", Kind: appliance.OpUp, State: appliance.OpRunning, CreatedAt: time.Now()}
	c := appliance.Cluster{Name: "main", UUID: "5e0b6f4a", Primary: "node0", Epoch: 1, Revision: 1, Phase: appliance.PhaseCreating}
	if err := st.Begin(t.Context(), appliance.Beginning{Operation: o, Create: &appliance.NewCluster{Cluster: c, Secrets: appliance.GenerateSecrets()}}); err != nil {
		t.Fatal(err)
	}
	renewed = new(int)
	ctl := control.New(control.Config{Store: st, Settings: st})
	return &stateAdmin{
		home: dir, st: st, lock: lock, log: slog.New(slog.DiscardHandler), alone: ctl.Alone,
		renew: func(func() error) error { *renewed++; return nil },
	}, st, renewed
}

func TestRestoreAndCompactRefuseWhileAnOperationRuns(t *testing.T) {
	t.Parallel()
	s, st, renewed := newStateAdmin(t)
	restore := func() error {
		_, err := s.install(t.Context(), "unpacked", archive.Manifest{})
		return err
	}
	compact := func() error {
		_, err := s.Compact(t.Context())
		return err
	}
	for name, request := range map[string]func() error{"restore": restore, "compact": compact} {
		var p *appliance.Problem
		if err := request(); !errors.As(err, &p) || p.ID != appliance.ErrOperationRunning || p.Operation != "up1" || *renewed != 0 {
			t.Errorf("%s during an up: %v, the state was replaced %d times", name, err, *renewed)
		}
	}
	o, err := st.Operation(t.Context(), "up1")
	if err != nil {
		t.Fatal(err)
	}
	o.State = appliance.OpSucceeded
	if err := st.SaveOperation(t.Context(), o, false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(restore(), compact()); err != nil || *renewed != 2 {
		t.Errorf("after the up: %v, the state was replaced %d times", err, *renewed)
	}
}
