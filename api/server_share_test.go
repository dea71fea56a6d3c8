package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSharedLooks(t *testing.T) {
	t.Parallel()
	s := newShared[int64]()
	var clock, looks atomic.Int64
	observe := func(context.Context) (int64, error) {
		looks.Add(1)
		began := clock.Add(1)
		time.Sleep(20 * time.Millisecond)
		return began, nil
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range 3 {
				asked := clock.Add(1)
				began, err := s.get(t.Context(), "a", observe)
				if err != nil || began <= asked {
					t.Errorf("asked at %d and got a look of %d, %v", asked, began, err)
				}
			}
		})
	}
	wg.Wait()
	if n := looks.Load(); n > 20 {
		t.Errorf("%d looks for 600 questions", n)
	}
	if len(s.lines) > 0 {
		t.Errorf("%d lines are left", len(s.lines))
	}
}

func TestSharedLooksGoOn(t *testing.T) {
	t.Parallel()
	s := newShared[int]()
	begun, end := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = recover() }()
		_, _ = s.get(t.Context(), "a", func(context.Context) (int, error) {
			close(begun)
			<-end
			panic("a canary")
		})
	})
	<-begun
	// Who waits for the next look goes away before its turn.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.get(gone, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone: %v", err)
	}
	close(end)
	wg.Wait()
	// Neither key is blocked. The end of the request that makes a look doesn't
	// end it: others may wait for it.
	for _, key := range []string{"a", "b"} {
		ctx, leave := context.WithCancel(t.Context())
		v, err := s.get(ctx, key, func(ctx context.Context) (int, error) {
			leave()
			return 7, ctx.Err()
		})
		if v != 7 || err != nil {
			t.Errorf("%s: %d, %v", key, v, err)
		}
	}
}
