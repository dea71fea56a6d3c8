package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
)

// alone has the act under way until lift is called, and returns how it ended.
func (d *desk) alone(t *testing.T, a Act) (lift func() error) {
	t.Helper()
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- d.Alone(t.Context(), a, func(context.Context) error {
			close(begun)
			<-end
			return nil
		})
	}()
	<-begun
	return func() error {
		close(end)
		return <-ended
	}
}

func TestAloneIsRefusedWhileAnOperationRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	o, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Act{ActPrune, ActRestore, ActCompact} {
		err := d.Alone(t.Context(), a, func(context.Context) error {
			t.Errorf("%s runs beside an up", a)
			return nil
		})
		var p *appliance.Problem
		if !errors.As(err, &p) || p.ID != appliance.ErrOperationRunning || p.Operation != o.ID || !strings.Contains(p.Hint, o.ID) {
			t.Errorf("%s beside an up: %v", a, err)
		}
	}
	if d.admission.marked() != nil {
		t.Error("a refused request has left its mark")
	}
}

func TestRequestsAreRefusedWhileWorkRunsAlone(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	two := 2
	for a, doing := range map[Act]string{ActPrune: "images", ActRestore: "restored", ActCompact: "compacted"} {
		lift := d.alone(t, a)
		for name, request := range map[string]func(context.Context) error{
			"up": func(ctx context.Context) error { _, err := d.Up(ctx, wish("main"), appliance.UpOptions{}); return err },
			"up of a new cluster": func(ctx context.Context) error {
				_, err := d.Up(ctx, wish("other"), appliance.UpOptions{})
				return err
			},
			"scale": func(ctx context.Context) error {
				_, err := d.Scale(ctx, "main", appliance.ScaleWish{Standbys: &two})
				return err
			},
			"down": func(ctx context.Context) error {
				_, err := d.Submit(ctx, "main", appliance.OpDestroy, appliance.OperationParams{})
				return err
			},
			"adopt": func(ctx context.Context) error { _, err := d.Adopt(ctx, "main"); return err },
			"prune": func(ctx context.Context) error {
				return d.Alone(ctx, ActPrune, func(context.Context) error { return nil })
			},
		} {
			if err := request(t.Context()); !appliance.IsProblem(err, appliance.ErrConflict) || !strings.Contains(err.Error(), doing) {
				t.Errorf("%s during %s: %v", name, a, err)
			}
		}
		if err := lift(); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{}); err != nil {
		t.Errorf("up when nothing is under way any more: %v", err)
	}
}

func TestAloneEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Alone(ctx, ActPrune, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || d.admission.marked() != nil {
		t.Errorf("ended with %v, mark %v", err, d.admission.marked())
	}
}

func TestAloneSeesAnOperationThatIsBeginning(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	leave, err := d.admission.enter(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- d.Alone(t.Context(), ActPrune, func(context.Context) error {
			t.Error("a prune runs beside an operation that began in its turn")
			return nil
		})
	}()
	o := d.newOperation("main", appliance.OpRestart, appliance.OperationParams{})
	if err := d.runner.Start(t.Context(), appliance.Beginning{Operation: o}); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := <-ended; !appliance.IsProblem(err, appliance.ErrOperationRunning) {
		t.Errorf("a prune while an operation begins: %v", err)
	}
}

func TestReviveWaitsForAPrune(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	c := d.idle(t, "main")
	lift := d.alone(t, ActPrune)
	revived := make(chan error, 1)
	go func() { revived <- d.bringBack(t.Context(), c) }()
	select {
	case err := <-revived:
		t.Errorf("the daemon's own start didn't wait for the prune: %v", err)
	default:
	}
	if err := lift(); err != nil {
		t.Fatal(err)
	}
	if err := <-revived; err != nil {
		t.Errorf("the daemon's own start after the prune: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.runner.Cancel(t.Context(), d.runningID(t, "main")); err != nil {
		t.Fatal(err)
	}
	lift = d.alone(t, ActPrune)
	if err := d.bringBack(ended, c); !errors.Is(err, context.Canceled) {
		t.Errorf("the daemon's own start whose context ended: %v", err)
	}
	if err := lift(); err != nil {
		t.Error(err)
	}
}

func (d *desk) runningID(t *testing.T, cluster string) string {
	t.Helper()
	o, err := d.st.Running(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return o.ID
}
