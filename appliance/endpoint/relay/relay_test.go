package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long one wait may take.
const limit = 2 * time.Minute

// bench is a relay with a listener that makes connections for it.
type bench struct {
	t     *testing.T
	relay *Relay
	l     *net.TCPListener
}

func newBench(t *testing.T) *bench {
	t.Helper()
	r, err := New(2)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(); r.Close() })
	return &bench{t: t, relay: r, l: l.(*net.TCPListener)}
}

// connect returns both ends of a connection.
func (b *bench) connect() (outer, inner *net.TCPConn) {
	b.t.Helper()
	c, err := new(net.Dialer).DialContext(b.t.Context(), "tcp", b.l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	outer = c.(*net.TCPConn)
	if inner, err = b.l.AcceptTCP(); err != nil {
		b.t.Fatal(err)
	}
	wait(outer)
	b.t.Cleanup(func() { _ = outer.Close() })
	return outer, inner
}

// wait begins a wait on the connection.
func wait(on *net.TCPConn) { _ = on.SetDeadline(time.Now().Add(limit)) }

// start returns a pair and what a client and a server have of it.
func (b *bench) start() (p *Pair, c, s *net.TCPConn) {
	b.t.Helper()
	c, clientSide := b.connect()
	s, serverSide := b.connect()
	p, err := b.relay.Start(clientSide, serverSide)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(p.Reset)
	return p, c, s
}

func (b *bench) over(p *Pair) {
	b.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(limit):
		b.t.Fatal("the pair has not ended")
	}
}

func (b *bench) send(to *net.TCPConn, text string) {
	b.t.Helper()
	wait(to)
	if _, err := io.WriteString(to, text); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) get(from *net.TCPConn, want string) {
	b.t.Helper()
	got := make([]byte, len(want))
	wait(from)
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		b.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestMessagesGoBothWays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, c, s := b.start()
	for range 100 {
		b.send(c, "a question")
		b.get(s, "a question")
		b.send(s, "an answer")
		b.get(c, "an answer")
	}
	_ = c.Close()
	_, _ = io.Copy(io.Discard, s)
	_ = s.Close()
	b.over(p)
}

// What was sent before the relay began is moved too.
func TestEarlyBytesArrive(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, clientSide := b.connect()
	s, serverSide := b.connect()
	b.send(c, "early")
	_ = c.CloseWrite()
	p, err := b.relay.Start(clientSide, serverSide)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s)
	if string(got) != "early" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = s.Close()
	b.over(p)
}

// TestEveryByteArrivesInOrder sends much in both directions at once, to readers that stop
// now and then, and ends one direction before the other.
func TestEveryByteArrivesInOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, c, s := b.start()
	var work sync.WaitGroup
	for i, way := range [][2]*net.TCPConn{{c, s}, {s, c}} {
		data := make([]byte, (4+8*i)<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		work.Go(func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rand.N(200_000))
				_ = way[0].SetWriteDeadline(time.Now().Add(limit))
				if _, err := way[0].Write(rest[:n]); err != nil {
					t.Errorf("direction %d: %v", i, err)
					return
				}
				rest = rest[n:]
			}
			_ = way[0].CloseWrite()
		})
		work.Go(func() {
			var got bytes.Buffer
			for {
				_ = way[1].SetReadDeadline(time.Now().Add(limit))
				_, err := io.CopyN(&got, way[1], int64(rand.N(500_000)))
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Errorf("direction %d: %v", i, err)
					return
				}
				if got.Len()%7 == 0 {
					time.Sleep(10 * time.Millisecond) // so that the buffers fill
				}
			}
			if !bytes.Equal(got.Bytes(), data) {
				t.Errorf("direction %d: %d bytes arrived, %d were sent, or they differ", i, got.Len(), len(data))
			}
		})
	}
	work.Wait()
	b.over(p)
}

// TestOneWhoDoesNotReadHoldsUpTheSender fills a pair: nothing is read for who doesn't read,
// and all of it arrives once he does.
func TestOneWhoDoesNotReadHoldsUpTheSender(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, c, s := b.start()
	kept := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.sides[client].rest)
	}
	// The sender is held up once nothing has been taken for a while and the pair has a rest.
	sent := 0
	chunk := make([]byte, 1<<20)
	for end := time.Now().Add(limit); ; {
		_ = s.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := s.Write(chunk)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 && kept() > 0 {
			break
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || sent > 1<<30 || time.Now().After(end) {
			t.Fatalf("%d bytes sent, %v; %d are kept", sent, err, kept())
		}
	}
	if n := kept(); n > bufferSize {
		t.Errorf("%d bytes are kept, want at most %d", n, bufferSize)
	}
	wait(c)
	_ = s.CloseWrite()
	if n, err := io.Copy(io.Discard, c); int(n) != sent || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, sent, err)
	}
	_ = c.Close()
	b.over(p)
}

// TestResetIsThereWhenResetReturns cuts a pair whose peers say nothing.
func TestResetIsThereWhenResetReturns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, c, s := b.start()
	b.send(c, "x")
	b.get(s, "x")
	p.Reset()
	p.Reset()
	b.over(p)
	for _, side := range []*net.TCPConn{c, s} {
		if _, err := side.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a reset: %v", err)
		}
	}
}

// A reset of one side reaches the other one as a reset: an end would look like a message's.
func TestResetOfOneSideReachesTheOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 {
		p, c, s := b.start()
		b.send(c, "x")
		b.get(s, "x")
		_ = c.SetLinger(0)
		_ = c.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the client's reset: %v", err)
		}
		b.over(p)
	}
}

// TestEndedPairsAreNotMistaken has many pairs begin and end in all ways while their
// neighbours' slots are used again, and wants nothing left.
func TestEndedPairsAreNotMistaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var accept sync.Mutex // so that both ends of a connection are found
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for i := range 60 {
				accept.Lock()
				p, c, s := b.start()
				accept.Unlock()
				b.send(c, "question")
				b.get(s, "question")
				switch i % 4 {
				case 0:
					p.Reset()
				case 1:
					_ = c.Close()
					_, _ = io.Copy(io.Discard, s)
					_ = s.Close()
				case 2:
					_ = s.SetLinger(0)
					_ = s.Close()
				case 3:
					b.send(s, "an answer that nobody reads")
					go p.Reset()
					_ = c.Close()
				}
				b.over(p)
			}
		})
	}
	work.Wait()
	for _, l := range b.relay.loops {
		for i, s := range l.slots {
			if s.pair != nil {
				t.Errorf("slot %d still has a pair", i)
			}
		}
		if len(l.free) != len(l.slots) {
			t.Errorf("%d of %d slots are free", len(l.free), len(l.slots))
		}
	}
}

// A connection that is closed already is refused, and the other one is closed with it.
func TestStartOfAClosedConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, clientSide := b.connect()
	_, serverSide := b.connect()
	_ = serverSide.Close()
	if _, err := b.relay.Start(clientSide, serverSide); err == nil {
		t.Fatal("a closed connection was taken over")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the client's connection is still open")
	}
}
