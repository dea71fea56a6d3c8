package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt/socket"
	"go.uber.org/goleak"
)

// Procedures of libvirt's remote protocol (libvirt's src/remote/remote_protocol.x).
const (
	remoteProgram     = 0x20008086
	procAuthList      = 66
	procLookupByUUID  = 24
	procGetState      = 212
	procRegisterEvent = 316
	procEvent         = 318
)

const eventDomain = "7b1f0b2e-1111-4222-8333-4444555566aa"

// daemon speaks as much of libvirt's protocol as Condition and Follow need.
type daemon struct {
	path  string
	mu    sync.Mutex
	conns map[net.Conn]bool
	// registered gets each connection on which a client follows events.
	registered chan net.Conn
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{path: filepath.Join(t.TempDir(), "sock"), conns: map[net.Conn]bool{}, registered: make(chan net.Conn, 10)}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns[c] = true
			d.mu.Unlock()
			serving.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); d.end(); serving.Wait() })
	return d
}

func (d *daemon) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", d.path)
}

// end ends all connections, as a restart of libvirt does.
func (d *daemon) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		_ = c.Close()
	}
	clear(d.conns)
}

func (d *daemon) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		head := make([]byte, lengthSize+headerSize)
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(head))-int64(len(head))); err != nil {
			return
		}
		procedure, serial := binary.BigEndian.Uint32(head[12:]), binary.BigEndian.Uint32(head[20:])
		if _, err := c.Write(packet(procedure, socket.Reply, serial, reply(procedure))); err != nil {
			return
		}
		if procedure == procRegisterEvent {
			d.registered <- c
		}
	}
}

// reply is the payload of the reply to a call.
func reply(procedure uint32) []byte {
	switch procedure {
	case procAuthList:
		return words(0)
	case procLookupByUUID:
		return domainPayload()
	case procGetState:
		return words(uint32(DomainPaused), 5)
	case procRegisterEvent:
		return words(1)
	}
	return nil
}

func words(values ...uint32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.BigEndian.AppendUint32(out, v)
	}
	return out
}

// domainPayload encodes the domain "node" with the UUID eventDomain.
func domainPayload() []byte {
	out := append(words(4), "node"...)
	for i := range 16 {
		out = append(out, []byte{0x7b, 0x1f, 0x0b, 0x2e, 0x11, 0x11, 0x42, 0x22, 0x83, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0xaa}[i])
	}
	return append(out, words(1)...)
}

func eventPayload(event uint32) []byte {
	return append(append(words(1), domainPayload()...), words(event, 0)...)
}

func packet(procedure, kind, serial uint32, payload []byte) []byte {
	head := words(uint32(lengthSize+headerSize+len(payload)), remoteProgram, 1, procedure, kind, serial, socket.StatusOK)
	return append(head, payload...)
}

// TestFollowHearsEventsUntilTheEnd isn't parallel: it looks for goroutines that are
// left.
func TestFollowHearsEventsUntilTheEnd(t *testing.T) { //nolint:paralleltest // it counts goroutines
	d := newDaemon(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer d.end()
	c := New(d.dial)
	for _, tt := range []struct {
		name string
		end  func(stop context.CancelFunc)
		want error
	}{
		{"its context ends", func(stop context.CancelFunc) { stop() }, context.Canceled},
		{"libvirt ends the connection", func(context.CancelFunc) { d.end() }, errEventsLost},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // as above
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			began, heard, ended := make(chan struct{}), make(chan Event, 10), make(chan error)
			go func() {
				ended <- c.Follow(ctx, func() { close(began) }, func(e Event) { heard <- e })
			}()
			server := <-d.registered
			<-began
			for event, want := range map[uint32]string{3: "Suspended", 5: "Stopped", 77: "Changed"} {
				if _, err := server.Write(packet(procEvent, socket.Message, 0, eventPayload(event))); err != nil {
					t.Fatal(err)
				}
				if got := <-heard; got != (Event{Name: "node", UUID: eventDomain, What: want}) {
					t.Errorf("event %d: got %+v", event, got)
				}
			}
			tt.end(stop)
			if err := <-ended; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestFollowWithoutLibvirt(t *testing.T) {
	t.Parallel()
	c := New(func(context.Context) (net.Conn, error) { return nil, io.ErrUnexpectedEOF })
	if err := c.Follow(t.Context(), func() { t.Error("it began") }, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// TestConditionAsksRestartedLibvirt asks a libvirt again that has been restarted
// since the last question.
func TestConditionAsksRestartedLibvirt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := New(d.dial)
	t.Cleanup(c.Close)
	for range 3 {
		got, err := c.Condition(t.Context(), eventDomain)
		if err != nil || !got.DiskFailed() || got.String() != "paused (I/O error)" {
			t.Errorf("got %v, %v", got, err)
		}
		d.end()
	}
}

// TestConditionDoesNotWait asks a libvirt that has answered before, and is away.
func TestConditionDoesNotWait(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dials := 0
	c := New(func(ctx context.Context) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, io.ErrUnexpectedEOF
		}
		return d.dial(ctx)
	})
	t.Cleanup(c.Close)
	if _, err := c.Condition(t.Context(), eventDomain); err != nil {
		t.Fatal(err)
	}
	d.end()
	if _, err := c.Condition(t.Context(), eventDomain); !errors.Is(err, io.ErrUnexpectedEOF) || dials > 3 {
		t.Errorf("got %v after %d dials", err, dials)
	}
}
