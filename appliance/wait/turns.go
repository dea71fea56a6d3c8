package wait

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Turns gives each name to one caller at a time. The zero value is ready for
// use. Names that nobody has or waits for take no memory.
type Turns struct {
	mu    sync.Mutex
	turns map[string]*turn
}

type turn struct {
	taken chan struct{} // holds one token while a caller has the turn
	// callers have the turn or wait for it.
	callers int
}

// Enter waits for the turn of that name, and returns what ends the turn. The
// error is the cause of the end of a context that ended first.
func (t *Turns) Enter(ctx context.Context, name string) (leave func(), err error) {
	mine := t.join(name)
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.left(name, mine) }, nil
	case <-ctx.Done():
		t.left(name, mine)
		return nil, context.Cause(ctx)
	}
}

// TryEnter is Enter where the turn is free now; ok is false where it is taken.
func (t *Turns) TryEnter(name string) (leave func(), ok bool) {
	mine := t.join(name)
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.left(name, mine) }, true
	default:
		t.left(name, mine)
		return nil, false
	}
}

// Settle waits until every turn is over that is taken now or waited for. The
// error is the cause of the end of a context that ended first.
func (t *Turns) Settle(ctx context.Context) error {
	t.mu.Lock()
	names := slices.Collect(maps.Keys(t.turns))
	t.mu.Unlock()
	for _, name := range names {
		leave, err := t.Enter(ctx, name)
		if err != nil {
			return err
		}
		leave()
	}
	return nil
}

func (t *Turns) join(name string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turns == nil {
		t.turns = map[string]*turn{}
	}
	mine := t.turns[name]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.turns[name] = mine
	}
	mine.callers++
	return mine
}

func (t *Turns) left(name string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.callers--; mine.callers == 0 {
		delete(t.turns, name)
	}
}
