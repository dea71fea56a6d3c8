//go:build integration

package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"pgapp/appliance"
)

// ownNetwork is set in a process that has a network of its own.
const ownNetwork = "PGAPP_TEST_KERNEL_NETWORK"

// probeOnly is set in a process that only prints what its probe says.
const probeOnly = "PGAPP_TEST_KERNEL_PROBE"

// TestMain runs the tests, as root, in a network of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("SKIPPED: only root can set the kernel's rules")
		return
	}
	if os.Getenv(probeOnly) != "" {
		fmt.Println(Probe(context.Background()))
		fmt.Println("removing nothing:", Path{Home: os.TempDir()}.Remove(context.Background()))
		return
	}
	if os.Getenv(ownNetwork) == "" {
		os.Exit(again())
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		// Few ports, so that clients have the same ones again soon.
		err = os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("20000 21999"), 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the network of the tests:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func again() int {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), ownNetwork+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// server says its name on each connection, and echoes lines.
type server struct {
	appliance.RouteMember
	l  net.Listener
	mu sync.Mutex
	// ended counts the connections that are over.
	ended int
	open  map[*net.TCPConn]bool
}

func serve(t *testing.T, name, address string) *server {
	t.Helper()
	l, err := listen(address)
	if err != nil {
		t.Fatal(err)
	}
	return serveAt(t, name, l)
}

// listen makes a socket of plain TCP, as PostgreSQL does.
func listen(address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp4", address)
}

func serveAt(t *testing.T, name string, l net.Listener) *server {
	t.Helper()
	s := &server{RouteMember: appliance.RouteMember{Name: name, Address: l.Addr().String()}, l: l, open: map[*net.TCPConn]bool{}}
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				s.holds(conn, true)
				defer s.holds(conn, false)
				_, err := fmt.Fprintln(conn, name)
				for r := bufio.NewReader(conn); err == nil; {
					var line string
					if line, err = r.ReadString('\n'); err == nil {
						_, err = conn.Write([]byte(line))
					}
				}
				_ = conn.Close()
				s.mu.Lock()
				defer s.mu.Unlock()
				s.ended++
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		stop()
		work.Wait()
	})
	return s
}

func (s *server) holds(conn net.Conn, open bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if open {
		s.open[tcp] = true
	} else {
		delete(s.open, tcp)
	}
}

// reset ends all connections with a reset, as the end of a process with unread bytes does.
func (s *server) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

func (s *server) over() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// client is a connection, and the name that its server said.
type client struct {
	t *testing.T
	net.Conn
	r  *bufio.Reader
	to string
}

// patience is how long one wait may take.
const patience = 2 * time.Minute

func dial(t *testing.T, address string) *client {
	t.Helper()
	c, err := try(t, address)
	if err != nil {
		t.Fatalf("connecting to %s: %v", address, err)
	}
	return c
}

func try(t *testing.T, address string) (*client, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp4", address, patience)
	if err != nil {
		return nil, err
	}
	return newClient(t, conn), nil
}

// newClient reads the server's name.
func newClient(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(patience))
	name, err := c.r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.to = name[:len(name)-1]
	return c
}

// lives wants an echo.
func (c *client) lives(why string) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintln(c, "hello")
	if err == nil {
		_, err = c.r.ReadString('\n')
	}
	if err != nil {
		c.t.Errorf("%s: the connection to %s ended: %v", why, c.to, err)
	}
}

// cut wants the connection, which is silent, to have ended.
func (c *client) cut(why string) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := c.r.ReadString('\n')
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: the connection to %s goes on: %v", why, c.to, err)
	}
}

func refused(t *testing.T, address, why string) {
	t.Helper()
	if c, err := try(t, address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: connecting to %s: %+v, error %v; want it refused", why, address, c, err)
	}
}

// ways is a home with one cluster that the kernel leads.
type ways struct {
	t *testing.T
	Path
	was, is appliance.Route
}

func newWays(t *testing.T, rw, ro string) *ways {
	t.Helper()
	w := &ways{t: t, Path: Path{Home: t.TempDir()}, is: appliance.Route{Cluster: "main", RW: rw, RO: ro, Kernel: true, ROPrimary: appliance.ROPrimaryLast}}
	t.Cleanup(func() {
		if err := w.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// lead changes the route and applies it.
func (w *ways) lead(change func(*appliance.Route)) {
	w.t.Helper()
	w.was = w.is
	change(&w.is)
	w.apply()
}

func (w *ways) apply() {
	w.t.Helper()
	if err := w.Apply(w.t.Context(), []appliance.Route{w.was}, []appliance.Route{w.is}); err != nil {
		w.t.Fatal(err)
	}
}

// flows counts the endpoint's connections that the kernel tracks to the server.
func (w *ways) flows(at string, s *server) int {
	w.t.Helper()
	from, to := netip.MustParseAddrPort(at), netip.MustParseAddrPort(s.Address)
	open, err := w.Open([]netip.AddrPort{from})
	if err != nil {
		w.t.Fatal(err)
	}
	return open[[2]netip.AddrPort{from, to}]
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
