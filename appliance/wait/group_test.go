package wait

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupRunBeginsAfterItsCallersAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[struct{}, int64]
		var clock, runs atomic.Int64
		run := func(context.Context, []struct{}) (int64, error) {
			runs.Add(1)
			began := clock.Add(1)
			time.Sleep(20 * time.Millisecond)
			return began, nil
		}
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for range 3 {
					asked := clock.Add(1)
					began, err := g.Do(t.Context(), "a", struct{}{}, run)
					if err != nil || began <= asked {
						t.Errorf("asked at %d and got a run of %d, %v", asked, began, err)
					}
				}
			})
		}
		wg.Wait()
		if n := runs.Load(); n > 20 {
			t.Errorf("%d runs for 600 callers", n)
		}
		if len(g.lines) > 0 {
			t.Errorf("%d lines are left", len(g.lines))
		}
	})
}

func TestGroupServesEachCallerOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[int, struct{}]
		served := map[int]int{} // runs of a key follow each other
		run := func(_ context.Context, all []int) (struct{}, error) {
			time.Sleep(time.Millisecond)
			for _, n := range all {
				served[n]++
			}
			return struct{}{}, nil
		}
		var wg sync.WaitGroup
		for n := range 500 {
			wg.Go(func() {
				if _, err := g.Do(t.Context(), "", n, run); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for n := range 500 {
			if served[n] != 1 {
				t.Errorf("caller %d was served %d times", n, served[n])
			}
		}
	})
}

func TestGroupGoesOnAfterAPanicAndAfterCallersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[struct{}, int]
		end := make(chan struct{})
		go func() {
			defer func() { _ = recover() }()
			_, _ = g.Do(t.Context(), "a", struct{}{}, func(context.Context, []struct{}) (int, error) {
				<-end
				panic("a canary")
			})
		}()
		synctest.Wait()
		// A caller that waits for the next run leaves before its turn.
		left := errors.New("left")
		gone, cancel := context.WithCancelCause(t.Context())
		cancel(left)
		if _, err := g.Do(gone, "a", struct{}{}, nil); !errors.Is(err, left) {
			t.Errorf("a caller that has left: %v", err)
		}
		close(end)
		synctest.Wait()
		for _, key := range []string{"a", "b"} {
			if v, err := g.Do(t.Context(), key, struct{}{}, func(context.Context, []struct{}) (int, error) { return 7, nil }); v != 7 || err != nil {
				t.Errorf("%s: %d, %v", key, v, err)
			}
		}
	})
}

func TestGroupTellsTheOthersOfAPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[struct{}, int]
		end := make(chan struct{})
		go func() {
			_, _ = g.Do(t.Context(), "a", struct{}{}, func(context.Context, []struct{}) (int, error) { <-end; return 0, nil })
		}()
		synctest.Wait()
		var panics, told atomic.Int32
		for range 4 {
			go func() {
				defer func() {
					if recover() != nil {
						panics.Add(1)
					}
				}()
				_, err := g.Do(t.Context(), "a", struct{}{}, func(context.Context, []struct{}) (int, error) { panic("a canary") })
				if errors.Is(err, errNotFinished) {
					told.Add(1)
				}
			}()
		}
		synctest.Wait()
		close(end)
		synctest.Wait()
		if panics.Load() != 1 || told.Load() != 3 || len(g.lines) != 0 {
			t.Errorf("%d panicked, %d were told, %d lines are left", panics.Load(), told.Load(), len(g.lines))
		}
	})
}

func TestGroupFreshSharesWhatHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := Group[struct{}, int]{Fresh: 500 * time.Millisecond}
		runs := 0
		get := func(key string) int {
			v, err := g.Do(t.Context(), key, struct{}{}, func(context.Context, []struct{}) (int, error) {
				runs++
				n := runs
				time.Sleep(time.Second)
				return n, nil
			})
			if err != nil {
				t.Error(err)
			}
			return v
		}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // all while the first run goes on
				if n := get("a"); n != 1 {
					t.Errorf("caller %d got run %d", i, n)
				}
			})
		}
		wg.Wait()
		if n := get("a"); n != 2 {
			t.Errorf("a result that is not fresh any more was used: run %d", n)
		}
		if n := get("b"); n != 3 || len(g.lines) != 1 {
			t.Errorf("another key: run %d; %d lines are kept", n, len(g.lines))
		}
	})
}

func TestGroupFreshKeepsAResultFromItsBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := Group[struct{}, int]{Fresh: 500 * time.Millisecond}
		runs := 0
		for _, want := range []int{1, 1, 1, 2, 2, 2, 3} { // at 0, 200, 400, 600 ms ...
			v, err := g.Do(t.Context(), "a", struct{}{}, func(context.Context, []struct{}) (int, error) { runs++; return runs, nil })
			if v != want || err != nil {
				t.Errorf("run %d, %v; want %d", v, err, want)
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
}
