package endpoint

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestMain also is the program that tests of the process start.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "endpoint-process" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := Run(ctx, Config{Home: os.Args[2], Build: os.Args[3], Log: os.Stderr})
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// member is a TCP server that speaks the first packets of PostgreSQL. After the startup
// packet it says its name, and then it echoes.
type member struct {
	t    *testing.T
	name string
	l    *net.TCPListener

	mu sync.Mutex
	// refuse is an SQLSTATE to refuse sessions with; mute accepts and says nothing.
	refuse  string
	mute    bool
	cancels int
	conns   map[net.Conn]bool
}

func newMember(t *testing.T, name string) *member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, name: name, l: l.(*net.TCPListener), conns: map[net.Conn]bool{}}
	var work sync.WaitGroup
	work.Go(func() { m.accept(&work) })
	t.Cleanup(func() {
		m.kill()
		work.Wait()
	})
	return m
}

func (m *member) route() appliance.RouteMember {
	return appliance.RouteMember{Name: m.name, Address: m.l.Addr().String()}
}

func (m *member) accept(work *sync.WaitGroup) {
	for {
		conn, err := m.l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.conns[conn] = true
		m.mu.Unlock()
		work.Go(func() {
			defer func() {
				_ = conn.Close()
				m.mu.Lock()
				delete(m.conns, conn)
				m.mu.Unlock()
			}()
			m.serve(conn)
		})
	}
}

func (m *member) serve(conn net.Conn) {
	for {
		k, _, err := readFirst(conn)
		m.mu.Lock()
		refuse, mute := m.refuse, m.mute
		if err == nil && k == cancelRequest {
			m.cancels++
		}
		m.mu.Unlock()
		switch {
		case err != nil || k == cancelRequest:
			return
		case mute:
			_, _ = io.Copy(io.Discard, conn)
			return
		case k == negotiation:
			_, _ = conn.Write([]byte{'N'})
			continue
		case refuse != "":
			_, _ = conn.Write(fatal(refuse, "refused"))
			return
		}
		_, _ = fmt.Fprintf(conn, "R%s\n", m.name)
		_, _ = io.Copy(conn, conn)
		return
	}
}

// kill closes the member with all its connections.
func (m *member) kill() {
	_ = m.l.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.Close()
	}
}

func (m *member) set(refuse string, mute bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse, m.mute = refuse, mute
}

func (m *member) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

func (m *member) cancelled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cancels
}

// packetOf is a first packet with the code and the body.
func packetOf(code uint32, body string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(out, code), body...)
}

func startupPacket() []byte { return packetOf(196608, "user\x00app\x00\x00") }

// freeAddress is a loopback address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// world is a server in the test's process.
type world struct {
	t     *testing.T
	s     *server
	route appliance.Route
	n     uint64
}

func newWorld(t *testing.T, route appliance.Route) *world {
	t.Helper()
	file, _, err := openState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	route.Cluster, route.RW, route.RO = "main", freeAddress(t), freeAddress(t)
	if route.Wait == 0 {
		route.Wait = 10 * time.Second
	}
	s, err := newServer(t.Context(), slog.New(slog.DiscardHandler), "test", file)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, s: s, route: route}
	t.Cleanup(func() {
		s.shut()
		s.wait()
		_ = file.f.Close()
	})
	w.apply(func(*appliance.Route) {})
	return w
}

func (w *world) apply(change func(r *appliance.Route)) {
	w.t.Helper()
	change(&w.route)
	w.n++
	if err := w.s.apply(appliance.Routes{Number: w.n, Clusters: []appliance.Route{w.route}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) status() appliance.ClusterRouteStatus {
	c, ok := w.s.status().Cluster("main")
	if !ok {
		w.t.Fatal("the cluster has no status")
	}
	return c
}

// session is a client's connection.
type session struct {
	t    *testing.T
	conn *net.TCPConn
	r    *bufio.Reader
}

func connect(t *testing.T, address string) *session {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	return &session{t: t, conn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
}

func (s *session) send(b []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// greeted reads the name of the member that answers.
func (s *session) greeted() string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	if err != nil || line[0] != 'R' {
		s.t.Fatalf("greeting %q: %v", line, err)
	}
	return line[1 : len(line)-1]
}

// greet opens a session and returns the member's name.
func greet(t *testing.T, address string) (*session, string) {
	t.Helper()
	s := connect(t, address)
	s.send(startupPacket())
	return s, s.greeted()
}

// echoes sends a line and reads it back.
func (s *session) echoes() error {
	if _, err := s.conn.Write([]byte("hello\n")); err != nil {
		return err
	}
	line, err := s.r.ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("got %q", line)
	}
	return err
}

// sqlstate reads an ErrorResponse up to the end of the connection.
func (s *session) sqlstate() string {
	s.t.Helper()
	all, err := io.ReadAll(s.r)
	if err != nil {
		s.t.Fatalf("reading the error: %v", err)
	}
	state, _ := sqlstateOf(all)
	return state
}

// ends reads until the connection ends.
func (s *session) ends() error {
	_, err := io.Copy(io.Discard, s.r)
	return err
}

// eventually waits until done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 2 min", what)
		}
		<-tick.C
	}
}

func dialTest(address string) (*net.TCPConn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// openDescriptors counts the open descriptors after a garbage collection, which closes
// the standard library's spare pipes.
func openDescriptors(t *testing.T) int {
	t.Helper()
	runtime.GC()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func running() int { return runtime.NumGoroutine() }
