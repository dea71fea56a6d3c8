package endpoint

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

func ptr(m appliance.RouteMember) *appliance.RouteMember { return &m }

func standby(m *member) appliance.RouteStandby {
	return appliance.RouteStandby{RouteMember: m.route(), New: true}
}

func TestRWLeadsToThePrimary(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s, name := greet(t, w.route.RW)
	if err := s.echoes(); name != "a" || err != nil {
		t.Fatalf("got %q, %v", name, err)
	}
	if got := w.status().RW; got.Open != 1 || got.To[0] != "a" || got.Members[0].Open != 1 {
		t.Errorf("status %+v", got)
	}
	_ = s.conn.Close()
	eventually(t, "the connection is forgotten", func() bool { return w.status().RW.Open == 0 && a.open() == 0 })
}

func TestNegotiationsArePassedOn(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s := connect(t, w.route.RW)
	for _, code := range []uint32{codeGSS, codeSSL} {
		s.send(packetOf(code, ""))
		if b, err := s.r.ReadByte(); b != 'N' || err != nil {
			t.Fatalf("answer %q, %v", b, err)
		}
	}
	s.send(startupPacket())
	if got := s.greeted(); got != "a" {
		t.Errorf("got %q", got)
	}
}

func TestClosedRWWaitsForTheNextPrimary(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	old, _ := greet(t, w.route.RW)
	w.apply(func(r *appliance.Route) { r.Closed = true })
	if err := old.echoes(); err != nil {
		t.Fatalf("a session of a closed endpoint: %v", err)
	}
	s := connect(t, w.route.RW)
	s.send(packetOf(codeSSL, ""))
	eventually(t, "the new connection waits", func() bool { return w.status().RW.Waiting == 1 })
	w.apply(func(r *appliance.Route) { r.Primary, r.Closed = ptr(b.route()), false })
	if err := old.ends(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the old primary's session ends with %v", err)
	}
	if n, err := s.r.ReadByte(); n != 'N' || err != nil {
		t.Fatalf("answer %q, %v", n, err)
	}
	s.send(startupPacket())
	if got := s.greeted(); got != "b" {
		t.Errorf("led to %q", got)
	}
	if got := w.status().RW; got.Cut != 1 || got.Open != 1 {
		t.Errorf("status %+v", got)
	}
}

func TestWaitEndsAsWithAServerThatStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appliance.Route{Wait: 50 * time.Millisecond})
	for _, first := range [][]byte{nil, packetOf(codeSSL, "")} {
		s := connect(t, w.route.RW)
		if first != nil {
			s.send(first)
			if b, err := s.r.ReadByte(); b != 'N' || err != nil {
				t.Fatalf("answer %q, %v", b, err)
			}
		}
		s.send(startupPacket())
		if got := s.sqlstate(); got != cannotConnectNow {
			t.Errorf("SQLSTATE %q", got)
		}
	}
	eventually(t, "nothing waits", func() bool { return w.status().RW.Waiting == 0 })
}

func TestFrozenPrimaryIsLeftForTheNextOne(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	a.set("", true)
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s := connect(t, w.route.RW)
	s.send(startupPacket())
	eventually(t, "the primary has the connection", func() bool { return a.open() == 1 })
	w.apply(func(r *appliance.Route) { r.Primary = nil })
	eventually(t, "the attempt is over", func() bool { return a.open() == 0 })
	w.apply(func(r *appliance.Route) { r.Primary = ptr(b.route()) })
	if got := s.greeted(); got != "b" {
		t.Errorf("led to %q", got)
	}
}

func TestStartingOrDeadPrimaryIsTriedAgain(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	a.set(cannotConnectNow, false)
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s := connect(t, w.route.RW)
	s.send(startupPacket())
	eventually(t, "the connection waits", func() bool { return w.status().RW.Waiting == 1 })
	a.set("", false)
	if got := s.greeted(); got != "a" {
		t.Errorf("led to %q", got)
	}
	a.kill()
	s = connect(t, w.route.RW)
	s.send(startupPacket())
	b := newMember(t, "b")
	eventually(t, "the connection waits", func() bool { return w.status().RW.Waiting == 1 })
	w.apply(func(r *appliance.Route) { r.Primary = ptr(b.route()) })
	if got := s.greeted(); got != "b" {
		t.Errorf("led to %q", got)
	}
}

func TestOtherRefusalsReachTheClient(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	a.set("28P01", false)
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s := connect(t, w.route.RW)
	s.send(startupPacket())
	if got := s.sqlstate(); got != "28P01" {
		t.Errorf("SQLSTATE %q", got)
	}
}

func TestSilentSessionIsCutAtOnce(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s, _ := greet(t, w.route.RW)
	w.apply(func(r *appliance.Route) { r.Primary = nil })
	if err := s.ends(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("ended with %v", err)
	}
	eventually(t, "the member lost the session", func() bool { return a.open() == 0 })
}

func TestROSpreadsOverStandbysThatTakeConnections(t *testing.T) {
	t.Parallel()
	p, a, b, c := newMember(t, "p"), newMember(t, "a"), newMember(t, "b"), newMember(t, "c")
	lagging := standby(c)
	lagging.New = false
	w := newWorld(t, appliance.Route{
		Primary: ptr(p.route()), ROPrimary: appliance.ROPrimaryLast,
		Standbys: []appliance.RouteStandby{standby(a), standby(b), lagging},
	})
	got := map[string]int{}
	for range 6 {
		_, name := greet(t, w.route.RO)
		got[name]++
	}
	if got["a"] != 3 || got["b"] != 3 {
		t.Errorf("spread %v", got)
	}
	a.set(cannotConnectNow, false)
	b.kill()
	if _, name := greet(t, w.route.RO); name != "p" {
		t.Errorf("led to %q; the standbys refuse", name)
	}
}

func TestROPrimaryNeverWaitsForAStandby(t *testing.T) {
	t.Parallel()
	p := newMember(t, "p")
	w := newWorld(t, appliance.Route{Primary: ptr(p.route()), ROPrimary: appliance.ROPrimaryNever, Wait: 50 * time.Millisecond})
	s := connect(t, w.route.RO)
	s.send(startupPacket())
	if got := s.sqlstate(); got != cannotConnectNow {
		t.Errorf("SQLSTATE %q", got)
	}
}

func TestStandbyThatFallsBehindKeepsItsSessions(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Standbys: []appliance.RouteStandby{standby(a)}})
	s, _ := greet(t, w.route.RO)
	w.apply(func(r *appliance.Route) { r.Standbys[0].New = false })
	if err := s.echoes(); err != nil {
		t.Error(err)
	}
	if got := w.status().RO; len(got.To) != 0 || got.Open != 1 {
		t.Errorf("status %+v", got)
	}
}

// TestDrainedSessionEndsAfterItsTime also has a drained member come back after its sessions
// have ended by themselves: those that begin then are none of the drain's.
func TestDrainedSessionEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	a, b, c := newMember(t, "a"), newMember(t, "b"), newMember(t, "c")
	w := newWorld(t, appliance.Route{Standbys: []appliance.RouteStandby{standby(a), standby(b), standby(c)}})
	sessions := map[string]*session{}
	for range 3 {
		s, name := greet(t, w.route.RO)
		sessions[name] = s
	}
	w.apply(func(r *appliance.Route) { r.Standbys[2].Drain = true })
	_ = sessions["c"].conn.Close()
	delete(sessions, "c")
	eventually(t, "the session at c is over", func() bool { return w.status().RO.Open == 2 })
	began := time.Now()
	w.apply(func(r *appliance.Route) {
		r.Standbys = []appliance.RouteStandby{{RouteMember: a.route(), Drain: true}, standby(c)}
	})
	back, name := greet(t, w.route.RO)
	if name != "c" {
		t.Fatalf("led to %q", name)
	}
	for _, s := range sessions {
		if err := s.echoes(); err != nil {
			t.Errorf("drained at once: %v", err)
		}
	}
	for _, s := range sessions {
		if err := s.ends(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ended with %v", err)
		}
	}
	if took := time.Since(began); took < drainTime {
		t.Errorf("cut after %s", took)
	}
	if err := back.echoes(); err != nil {
		t.Errorf("a session at a member that came back: %v", err)
	}
}

func TestLimitOfConnections(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route()), MaxConnections: 2})
	first, _ := greet(t, w.route.RW)
	greet(t, w.route.RW)
	s := connect(t, w.route.RW)
	s.send(startupPacket())
	if got := s.sqlstate(); got != tooManyConnections {
		t.Errorf("SQLSTATE %q", got)
	}
	_ = first.conn.Close()
	eventually(t, "the first is over", func() bool { return w.status().RW.Open == 1 })
	if _, name := greet(t, w.route.RW); name != "a" {
		t.Errorf("led to %q", name)
	}
}

func TestHalfClosedSessionGetsItsAnswer(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	s, _ := greet(t, w.route.RW)
	s.send([]byte("last\n"))
	if err := s.conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(s.r)
	if string(all) != "last\n" || err != nil {
		t.Errorf("got %q, %v", all, err)
	}
	eventually(t, "the connection is forgotten", func() bool { return w.status().RW.Open == 0 })
}

func TestOlderStateIsRefused(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	w.apply(func(r *appliance.Route) { r.Primary = ptr(b.route()) })
	same := appliance.Routes{Number: w.n, Clusters: []appliance.Route{w.route}}
	if err := w.s.apply(same); err != nil {
		t.Errorf("the same state again: %v", err)
	}
	other := w.route
	other.Primary = ptr(a.route())
	for _, n := range []uint64{0, w.n - 1, w.n} {
		err := w.s.apply(appliance.Routes{Number: n, Clusters: []appliance.Route{other}})
		if !appliance.IsProblem(err, appliance.ErrConflict) {
			t.Errorf("state %d: %v", n, err)
		}
	}
	if _, name := greet(t, w.route.RW); name != "b" {
		t.Errorf("led to %q", name)
	}
}

func TestTakenAddressIsBoundLater(t *testing.T) {
	t.Parallel()
	a, other := newMember(t, "a"), newMember(t, "other")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	w.apply(func(r *appliance.Route) { r.RW = other.route().Address })
	if got := w.status(); got.RW.Problem == "" || got.RO.Problem != "" {
		t.Fatalf("status %+v", got)
	}
	other.kill()
	eventually(t, "the address is bound", func() bool { return w.status().RW.Problem == "" })
	if _, name := greet(t, w.route.RW); name != "a" {
		t.Errorf("led to %q", name)
	}
}

func TestAddressBeyondThisMachineIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appliance.Route{})
	for _, at := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:5001", "5001"} { // 192.0.2.0/24 is nobody's (RFC 5737)
		w.apply(func(r *appliance.Route) { r.RO = at })
		if got := w.status().RO.Problem; got == "" {
			t.Errorf("%s: no problem", at)
		}
	}
}

// TestFullDiskRefusesAState writes the state to a device that is full.
func TestFullDiskRefusesAState(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route())})
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = full.Close() })
	open, _ := greet(t, w.route.RW)
	good := w.s.file
	w.s.file = &stateFile{f: full}
	next := appliance.Routes{Number: w.n + 1, Clusters: []appliance.Route{w.route}}
	next.Clusters[0].Primary = ptr(b.route())
	err = asProblem(w.s.apply(next))
	if !appliance.IsProblem(err, appliance.ErrHostNoSpace) || !strings.Contains(err.Error(), "as before") {
		t.Errorf("error %v, want %s that says what the endpoints do", err, appliance.ErrHostNoSpace)
	}
	if _, name := greet(t, w.route.RW); name != "a" || open.echoes() != nil {
		t.Errorf("led to %q; the endpoints have to go on as before", name)
	}
	w.s.file = good
	if err := w.s.apply(next); err != nil {
		t.Fatal(err)
	}
	if _, name := greet(t, w.route.RW); name != "b" {
		t.Errorf("led to %q after the disk had space again", name)
	}
}
