package libvirt

import (
	"context"
	"sync"
	"testing"

	"pgapp/provisioner/libvirt/rpc"
)

// fakeEvents are a fake libvirt's clients that follow events, and its end.
type fakeEvents struct {
	mu      sync.Mutex
	clients map[chan rpc.Event]bool
	// down is the answer of a libvirt that can't be asked.
	down error
	// hangs keeps each question open until its context ends.
	hangs bool
}

// happens changes a domain's state from outside, and tells those that follow.
func (f *fake) happens(t *testing.T, name string, state rpc.DomainState, reason int32, what string) {
	t.Helper()
	f.mu.Lock()
	d, ok := f.find(name)
	if !ok {
		t.Fatalf("no domain %s", name)
	}
	d.State, d.Reason = state, reason
	event := rpc.Event{Name: d.Name, UUID: d.UUID, What: what}
	f.mu.Unlock()
	f.events.mu.Lock()
	defer f.events.mu.Unlock()
	for c := range f.events.clients {
		c <- event
	}
}

// breaks ends all connections, and refuses others until it is called with nil.
func (f *fake) breaks(err error) {
	f.events.mu.Lock()
	defer f.events.mu.Unlock()
	f.events.down = err
	for c := range f.events.clients {
		close(c)
	}
	clear(f.events.clients)
}

func (f *fake) down() error {
	f.events.mu.Lock()
	defer f.events.mu.Unlock()
	return f.events.down
}

func (f *fake) Condition(ctx context.Context, name string) (rpc.Condition, error) {
	if f.events.hangs {
		<-ctx.Done()
		return rpc.Condition{}, context.Cause(ctx)
	}
	if err := f.down(); err != nil {
		return rpc.Condition{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return rpc.Condition{}, rpc.ErrNotFound
	}
	return rpc.Condition{State: d.State, Reason: d.Reason}, nil
}

func (f *fake) Follow(ctx context.Context, began func(), heard func(rpc.Event)) error {
	if err := f.down(); err != nil {
		return err
	}
	events := make(chan rpc.Event, 10)
	f.events.mu.Lock()
	if f.events.clients == nil {
		f.events.clients = map[chan rpc.Event]bool{}
	}
	f.events.clients[events] = true
	f.events.mu.Unlock()
	began()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return errBroken
			}
			heard(e)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
