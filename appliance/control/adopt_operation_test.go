package control

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// observing makes the desk's cluster one of a restored state.
func (d *desk) observing(t *testing.T) appliance.Cluster {
	t.Helper()
	c := d.idle(t, "main")
	if err := SetObserveOnly(t.Context(), d.st, ObserveOnly{Reason: "a restore", Clusters: []string{"main"}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// adoptions are the cluster's operations of that kind.
func (d *desk) adoptions(t *testing.T) []appliance.Operation {
	t.Helper()
	all, err := d.st.Operations(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(o appliance.Operation) bool { return o.Kind != appliance.OpAdopt })
}

// adopting returns when an adoption has begun.
func (d *desk) adopting(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := wait.Until(ctx, time.Millisecond, func(context.Context) (bool, error) { return len(d.adoptions(t)) > 0, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyAdoptIsAdmittedWhileObserving(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	close(d.finish)
	before := d.observing(t)
	if _, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{}); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("up while observing only: %v", err)
	}
	a, err := d.Adopt(t.Context(), "main")
	if err != nil || a.Primary != "node0" || a.Epoch != before.Epoch+1 {
		t.Fatalf("adopted %+v, %v", a, err)
	}
	after, err := d.st.Cluster(t.Context(), "main")
	if err != nil || after.Epoch != a.Epoch || after.Phase != before.Phase {
		t.Errorf("after the adoption: %+v, %v", after, err)
	}
	if all := d.adoptions(t); len(all) != 1 || all[0].State != appliance.OpSucceeded {
		t.Errorf("journaled: %+v", all)
	}
	again, err := d.Adopt(t.Context(), "main")
	if err != nil || again.Epoch != a.Epoch || len(d.adoptions(t)) != 1 {
		t.Errorf("adopted again: %+v, %v, %d operations", again, err, len(d.adoptions(t)))
	}
	if _, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{}); err != nil {
		t.Errorf("up after the adoption: %v", err)
	}
}

func TestAdoptTwiceJoins(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.observing(t)
	const callers = 4
	found := make(chan appliance.Adoption, callers)
	for range callers {
		go func() {
			a, err := d.Adopt(t.Context(), "main")
			if err != nil {
				t.Error(err)
			}
			found <- a
		}()
	}
	d.adopting(t)
	close(d.finish)
	first := <-found
	for range callers - 1 {
		if a := <-found; a.Epoch != first.Epoch || a.Primary != first.Primary {
			t.Errorf("got %+v beside %+v", a, first)
		}
	}
	if all := d.adoptions(t); len(all) != 1 {
		t.Errorf("%d operations, want one", len(all))
	}
}

func TestAdoptKilledInTheMiddleResumes(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"before record", "did record", "saved record", "did known", "saved known", "end"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := host{allocate: at("127.0.0.1")}
			d := newDesk(t, h)
			close(d.finish)
			before := d.observing(t)
			d.runner.Close()
			d.serve(t, h, func(at string) error {
				if at == point {
					return errors.New("killed")
				}
				return nil
			})
			if _, err := d.Adopt(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrInterrupted) {
				t.Fatalf("adopt that is killed at %q: %v", point, err)
			}
			d.runner.Close()
			d.serve(t, h, nil)
			killed := d.adoptions(t)
			if err := d.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			o, err := d.await(t.Context(), killed[0])
			if err != nil {
				t.Fatal(err)
			}
			after, err := d.st.Cluster(t.Context(), "main")
			if err != nil || after.Epoch != before.Epoch+1 || !reflect.DeepEqual(o.Params, killed[0].Params) {
				t.Errorf("resumed as %+v: %+v, %v", o.Params.Adopt, after, err)
			}
			if only, err := d.observeOnly(t.Context()); err != nil || len(only.Clusters) != 0 {
				t.Errorf("it still only observes: %+v, %v", only, err)
			}
		})
	}
}

func TestAdoptRefusesAChangedRecord(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.observing(t)
	ended := make(chan error, 1)
	go func() {
		_, err := d.Adopt(t.Context(), "main")
		ended <- err
	}()
	d.adopting(t)
	changed, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error { c.Timeline = 7; return nil })
	if err != nil {
		t.Fatal(err)
	}
	close(d.finish)
	if err := <-ended; !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("adoption of a record that was changed: %v", err)
	}
	if after, err := d.st.Cluster(t.Context(), "main"); err != nil || after.Epoch != changed.Epoch {
		t.Errorf("it was recorded all the same: %+v, %v", after, err)
	}
}
