package wait

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTurnsLetOneInAtATime(t *testing.T) {
	t.Parallel()
	var turns Turns
	var inside, entered atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				leave, err := turns.Enter(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d are in", n)
				}
				entered.Add(1)
				inside.Add(-1)
				leave()
			}
		})
	}
	wg.Wait()
	if n := entered.Load(); n != 1000 {
		t.Errorf("%d had a turn", n)
	}
}

func TestTurnsOfOtherNamesAreFree(t *testing.T) {
	t.Parallel()
	var turns Turns
	leaveA, err := turns.Enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	leaveB, ok := turns.TryEnter("b")
	if !ok {
		t.Fatal("a turn of another name is taken")
	}
	if _, ok := turns.TryEnter("a"); ok {
		t.Error("a taken turn was given again")
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := turns.Enter(ctx, "a"); !errors.Is(err, gone) {
		t.Errorf("entering with a context that has ended: %v", err)
	}
	leaveA()
	again, ok := turns.TryEnter("a")
	if !ok {
		t.Fatal("a turn that was left is taken")
	}
	again()
	leaveB()
	if len(turns.turns) != 0 {
		t.Errorf("%d turns are kept", len(turns.turns))
	}
}

func TestSettleWaitsForTheTurnsThatAreTaken(t *testing.T) {
	t.Parallel()
	var turns Turns
	leave, err := turns.Enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns.Settle(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("settled while a turn is taken: %v", err)
	}
	settled := make(chan error, 1)
	go func() { settled <- turns.Settle(t.Context()) }()
	select {
	case <-settled:
		t.Error("settled while a turn is taken")
	default:
	}
	leave()
	if err := <-settled; err != nil {
		t.Error(err)
	}
}
