package relay

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is how much a thread moves at once. What the other side doesn't take is
	// kept, so it also bounds the memory of a direction.
	bufferSize = 32 << 10
	// batch is how many events a thread takes at once.
	batch = 128
)

// loop is a thread with its pairs.
type loop struct {
	epoll, wake int
	buffer      []byte

	mu sync.Mutex
	// slots holds the pairs; an event names a slot and its generation, since the pair may
	// have ended after the kernel reported the event.
	slots []slot
	free  []int32
}

type slot struct {
	pair       *Pair
	generation int32
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a relay: %w", os.NewSyscallError("epoll_create1", err))
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a relay: %w", err), unix.Close(epoll))
	}
	return &loop{epoll: epoll, wake: wake, buffer: make([]byte, bufferSize)}, nil
}

// run moves bytes until the loop is stopped.
func (l *loop) run() {
	defer func() { _, _ = unix.Close(l.epoll), unix.Close(l.wake) }()
	events := make([]unix.EpollEvent, batch)
	for {
		n, err := await(l.epoll, events)
		if err != nil {
			return // the descriptor is not one: a fault of this package
		}
		for _, e := range events[:n] {
			if e.Fd < 0 {
				return
			}
			if p := l.find(e.Fd>>1, e.Pad); p != nil {
				p.ready(int(e.Fd&1), e.Events)
			}
		}
	}
}

// stop ends run.
func (l *loop) stop() { _, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (l *loop) find(at, generation int32) *Pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.slots[at]; s.generation == generation {
		return s.pair
	}
	return nil
}

// add gives the pair a slot.
func (l *loop) add(p *Pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		p.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		p.slot = int32(len(l.slots)) //nolint:gosec // bounded by the limit of descriptors
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[p.slot]
	s.pair = p
	p.generation = s.generation
}

// remove frees the pair's slot.
func (l *loop) remove(p *Pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[p.slot] = slot{generation: p.generation + 1}
	l.free = append(l.free, p.slot)
}
