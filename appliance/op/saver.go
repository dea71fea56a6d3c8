package op

import (
	"context"
	"sync"
)

// saver writes the journal for steps that end at the same time in one
// transaction: who comes while a write is under way waits for the next one,
// which then holds every change made up to its start.
type saver struct {
	save func(ctx context.Context) error

	mu      sync.Mutex
	writing bool
	next    *batch
}

type batch struct {
	done chan struct{}
	err  error
}

// flush returns when a write that began after the call has ended.
func (s *saver) flush(ctx context.Context) error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &batch{done: make(chan struct{})}
	}
	mine := s.next
	if s.writing {
		s.mu.Unlock()
		<-mine.done
		return mine.err
	}
	s.writing = true
	for s.next != nil {
		b := s.next
		s.next = nil
		s.mu.Unlock()
		b.err = s.save(ctx)
		close(b.done)
		s.mu.Lock()
	}
	s.writing = false
	s.mu.Unlock()
	return mine.err
}
