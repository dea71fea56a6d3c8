//go:build integration

package kernel

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

func TestProbeFindsAllPartsHere(t *testing.T) {
	t.Parallel()
	if err := Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if out, err := run(t.Context(), "", "list", "tables"); err != nil || strings.Contains(string(out), "probe") {
		t.Errorf("the probe left a table: %s, %v", out, err)
	}
}

// TestProbeNamesWhatIsMissing runs the probe as a root that has no power over its network,
// as in a container. A home without a table needs none.
func TestProbeNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), probeOnly+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{HostID: 0, ContainerID: 0, Size: 1}}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--endpoint kernel can't be had here", "no rules for address translation", "Operation not permitted", "removing nothing: <nil>"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the probe says %s, want %q", out, want)
		}
	}
}

// TestApplyCutsTheFormerPrimary moves the primary under a connection that is silent. One
// that leads to the member itself is none of the endpoint's.
func TestApplyCutsTheFormerPrimary(t *testing.T) {
	t.Parallel()
	const rw = "127.0.0.1:6000"
	a, b := serve(t, "a", "127.0.60.1:5432"), serve(t, "b", "127.0.60.2:5432")
	w := newWays(t, rw, "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	silent, direct := dial(t, rw), dial(t, a.Address)
	if silent.to != "a" {
		t.Fatalf("rw leads to %s, want a", silent.to)
	}
	w.lead(func(r *appliance.Route) { r.Closed = true })
	refused(t, rw, "closed")
	silent.lives("closed")
	w.lead(func(r *appliance.Route) { r.Primary = nil })
	silent.cut("no primary")
	eventually(t, "the server's end of the connection is over", func() bool { return a.over() == 1 })
	refused(t, rw, "no primary")
	if n := w.flows(rw, a); n != 0 {
		t.Errorf("the kernel tracks %d connections to the former primary", n)
	}
	w.lead(func(r *appliance.Route) { r.Primary, r.Closed = &b.RouteMember, false })
	next := dial(t, rw)
	if next.to != "b" {
		t.Errorf("rw leads to %s, want b", next.to)
	}
	// A change in one step cuts as well.
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	next.cut("another primary")
	direct.lives("after all")
}

func TestApplyLeadsReads(t *testing.T) {
	t.Parallel()
	const rw, ro = "127.0.0.1:6010", "127.0.0.1:6011"
	a, b, c := serve(t, "a", "127.0.61.1:5432"), serve(t, "b", "127.0.61.2:5432"), serve(t, "c", "127.0.61.3:5432")
	standby := func(s *server, takes bool) appliance.RouteStandby {
		return appliance.RouteStandby{RouteMember: s.RouteMember, New: takes}
	}
	w := newWays(t, rw, ro)
	w.lead(func(r *appliance.Route) {
		r.Primary, r.Standbys = &a.RouteMember, []appliance.RouteStandby{standby(b, true), standby(c, true)}
	})
	var at [2]*client
	eventually(t, "reads lead to both standbys", func() bool {
		switch one := dial(t, ro); one.to {
		case "b":
			at[0] = one
		case "c":
			at[1] = one
		default:
			t.Fatalf("ro leads to %s", one.to)
		}
		return at[0] != nil && at[1] != nil
	})
	w.lead(func(r *appliance.Route) { r.Standbys[1].New = false })
	at[1].lives("behind")
	for range 20 {
		if one := dial(t, ro); one.to != "b" {
			t.Fatalf("ro leads to %s, which is behind", one.to)
		}
	}
	w.lead(func(r *appliance.Route) { r.Standbys = r.Standbys[:1] })
	at[1].cut("removed")
	at[0].lives("another was removed")
	w.lead(func(r *appliance.Route) { r.Standbys = []appliance.RouteStandby{standby(b, false)} })
	last := dial(t, ro)
	if last.to != "a" {
		t.Errorf("without a standby ro leads to %s, want a", last.to)
	}
	// The former primary is a standby now, whose sessions for reads may have written.
	w.lead(func(r *appliance.Route) {
		r.Primary, r.Standbys = &b.RouteMember, []appliance.RouteStandby{standby(a, true)}
	})
	last.cut("no primary any more")
	at[0].lives("promoted")
	w.lead(func(r *appliance.Route) { r.Standbys, r.ROPrimary = nil, appliance.ROPrimaryNever })
	refused(t, ro, "no standby")
}

// TestApplyLeavesTheProcessesConnections has a listener at the endpoint's port, as the
// endpoint process does.
func TestApplyLeavesTheProcessesConnections(t *testing.T) {
	t.Parallel()
	const rw = "127.0.0.1:6020"
	a, process := serve(t, "a", "127.0.62.1:5432"), serve(t, "process", rw)
	w := newWays(t, rw, "")
	before := dial(t, rw)
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	before.lives("the kernel leads now")
	led := dial(t, rw)
	if led.to != "a" {
		t.Fatalf("rw leads to %s, want a", led.to)
	}
	table, err := w.table()
	if err != nil {
		t.Fatal(err)
	}
	if err := nft(t.Context(), "delete table ip "+table); err != nil {
		t.Fatal(err)
	}
	intact := func(want bool) {
		t.Helper()
		if got, err := w.Intact(t.Context(), []appliance.Route{w.is}); err != nil || got != want {
			t.Errorf("intact: %v, error %v; want %v", got, err, want)
		}
	}
	intact(false)
	between := dial(t, rw)
	if between.to != process.Name {
		t.Errorf("without rules the connection leads to %s", between.to)
	}
	w.apply()
	intact(true)
	before.lives("with rules again")
	between.lives("with rules again")
	w.lead(func(r *appliance.Route) { r.Closed = true })
	refused(t, rw, "closed")
	before.lives("closed")
}

func TestBlockRefusesAll(t *testing.T) {
	t.Parallel()
	const rw = "127.0.0.1:6030"
	a := serve(t, "a", "127.0.63.1:5432")
	w := newWays(t, rw, "")
	if err := w.Block(t.Context()); err != nil {
		t.Errorf("blocking without a table: %v", err)
	}
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	one := dial(t, rw)
	if err := w.Block(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.cut("blocked")
	refused(t, rw, "blocked")
	w.apply()
	dial(t, rw).lives("led again")
}

func TestRemoveLeavesOtherHomes(t *testing.T) {
	t.Parallel()
	a := serve(t, "a", "127.0.64.1:5432")
	one, other := newWays(t, "127.0.0.1:6040", ""), newWays(t, "127.0.0.1:6042", "")
	for _, w := range []*ways{one, other} {
		w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	}
	gone, stays := dial(t, one.is.RW), dial(t, other.is.RW)
	table, err := one.table()
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone.cut("removed")
	refused(t, one.is.RW, "removed")
	stays.lives("another home's table was removed")
	dial(t, other.is.RW).lives("another home's table was removed")
	if out, err := run(t.Context(), "", "list", "tables"); err != nil || strings.Contains(string(out), table) {
		t.Errorf("the table is left: %s, %v", out, err)
	}
	if left, _ := filepath.Glob(filepath.Join(one.Home, "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if err := one.Remove(t.Context()); err != nil {
		t.Errorf("removing again: %v", err)
	}
}

// TestApplyCutsWhatAnEarlierDaemonLed has a daemon come up that knows nothing.
func TestApplyCutsWhatAnEarlierDaemonLed(t *testing.T) {
	t.Parallel()
	a := serve(t, "a", "127.0.65.1:5432")
	w := newWays(t, "127.0.0.1:6050", "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	one := dial(t, w.is.RW)
	if err := (Path{Home: w.Home}).Apply(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	one.cut("no cluster")
	refused(t, w.is.RW, "no cluster")
}

// TestApplyLeadsToGuests has a member in another network, as a virtual machine is. The
// endpoint is at this host's address in it, and is for this host only.
func TestApplyLeadsToGuests(t *testing.T) {
	t.Parallel()
	const rw = "10.77.0.1:6060"
	guest := newGuest(t)
	var far net.Listener
	guest.in(func() error {
		var err error
		far, err = listen("10.77.0.2:5432")
		return err
	})
	a := serveAt(t, "a", far)
	w := newWays(t, rw, "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	one := dial(t, rw)
	if one.to != "a" {
		t.Fatalf("rw leads to %s", one.to)
	}
	guest.in(func() error {
		refused(t, rw, "from a guest")
		return nil
	})
	w.lead(func(r *appliance.Route) { r.Primary = nil })
	one.cut("no primary")
	eventually(t, "the guest's end of the connection is over", func() bool { return a.over() == 1 })
	refused(t, rw, "no primary")
}

// TestApplyCutsClientsOfDualStack has a client that connects to the IPv4 address through a
// socket of IPv6, as Java's do.
func TestApplyCutsClientsOfDualStack(t *testing.T) {
	t.Parallel()
	const rw = "127.0.0.1:6080"
	a := serve(t, "a", "127.0.68.1:5432")
	w := newWays(t, rw, "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("SKIPPED: this kernel has no IPv6: %v", err)
	}
	file := os.NewFile(uintptr(fd), "client")
	defer func() { _ = file.Close() }()
	to := netip.MustParseAddrPort(rw)
	mapped := netip.AddrFrom16(to.Addr().As16())
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: mapped.As16(), Port: int(to.Port())}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	one := newClient(t, conn)
	w.lead(func(r *appliance.Route) { r.Primary = nil })
	one.cut("no primary")
}

// TestDestroyLeavesListeners looks for a connection that has ended, at the address of a
// program that listens. The kernel would take the listener for it.
func TestDestroyLeavesListeners(t *testing.T) {
	t.Parallel()
	a := serve(t, "a", "127.0.69.1:5432")
	gone := ends{netip.MustParseAddrPort(a.Address), netip.MustParseAddrPort("127.0.0.1:9")}
	if err := destroyAll(map[ends]bool{gone: true}); err != nil {
		t.Fatal(err)
	}
	dial(t, a.Address).lives("after all")
}

// TestApplyLetsNoConnectionSlip moves the primary to and fro under clients that connect
// all the time: once a change is applied, none leads to the former primary.
func TestApplyLetsNoConnectionSlip(t *testing.T) {
	t.Parallel()
	const rw, rounds = "127.0.0.1:6070", 6
	members := []*server{serve(t, "a", "127.0.67.1:5432"), serve(t, "b", "127.0.67.2:5432")}
	w := newWays(t, rw, "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan int)
	const callers = 4
	for range callers {
		go func() {
			n := 0
			var d net.Dialer
			var open [20]net.Conn
			for ; ctx.Err() == nil; n++ {
				conn, err := d.DialContext(ctx, "tcp4", rw)
				if err != nil {
					continue
				}
				if former := open[n%len(open)]; former != nil {
					_ = former.Close()
				}
				open[n%len(open)] = conn
			}
			for _, conn := range open {
				if conn != nil {
					_ = conn.Close()
				}
			}
			done <- n
		}()
	}
	for i := range rounds {
		now, former := members[i%2], members[(i+1)%2]
		w.lead(func(r *appliance.Route) { r.Primary = &now.RouteMember })
		if n := w.flows(rw, former); n > 0 {
			t.Errorf("change %d: %d connections lead to the former primary", i, n)
		}
		if one := dial(t, rw); one.to != now.Name {
			t.Errorf("change %d: rw leads to %s", i, one.to)
		}
	}
	stop()
	for range callers {
		<-done
	}
}
