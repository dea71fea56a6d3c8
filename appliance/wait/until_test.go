package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance/wait"
)

func TestUntilCallsAtOnceAndThenAtEachTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun, calls := time.Now(), 0
		err := wait.Until(t.Context(), 50*time.Millisecond, func(context.Context) (bool, error) {
			calls++
			return calls == 4, nil
		})
		if took := time.Since(begun); err != nil || calls != 4 || took != 150*time.Millisecond {
			t.Errorf("%d calls in %s, %v", calls, took, err)
		}
	})
}

func TestUntilEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	calls := 0
	err := wait.Until(t.Context(), time.Hour, func(context.Context) (bool, error) {
		calls++
		return true, lost
	})
	if !errors.Is(err, lost) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestUntilReturnsTheCauseOfItsContextsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late := errors.New("late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 120*time.Millisecond, late)
		defer cancel()
		calls := 0
		err := wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
			calls++
			return false, nil
		})
		if !errors.Is(err, late) || calls != 3 {
			t.Errorf("%d calls, %v", calls, err)
		}
		if err := wait.Until(ctx, time.Hour, func(context.Context) (bool, error) { return true, nil }); err != nil {
			t.Errorf("what holds already, after the end: %v", err)
		}
	})
}
