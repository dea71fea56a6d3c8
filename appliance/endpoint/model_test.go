package endpoint

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
)

// model is what the endpoints may do, said again without connections: who is asked for
// a session counts from the moment in which the process answers that a state holds.
type model struct {
	rng     *rand.Rand
	members []*member
	route   appliance.Route
}

// next changes the route at random, as switchovers, failovers and lagging standbys do.
func (m *model) next() {
	pick := func() appliance.RouteMember { return m.members[m.rng.IntN(len(m.members))].route() }
	switch m.rng.IntN(6) {
	case 0:
		m.route.Primary, m.route.Closed = nil, true
	case 1:
		m.route.Closed = true
	case 2, 3:
		m.route.Primary, m.route.Closed = ptr(pick()), false
	case 4:
		m.route.ROPrimary = []appliance.ROPrimary{appliance.ROPrimaryNever, appliance.ROPrimaryLast, appliance.ROPrimaryAlways}[m.rng.IntN(3)]
	}
	m.route.Standbys = nil
	for _, s := range m.members {
		if m.rng.IntN(3) > 0 && (m.route.Primary == nil || *m.route.Primary != s.route()) {
			m.route.Standbys = append(m.route.Standbys, appliance.RouteStandby{RouteMember: s.route(), New: m.rng.IntN(2) > 0, Drain: m.rng.IntN(4) == 0})
		}
	}
}

// TestChoicesFollowTheState holds for random states: rw takes the open primary or
// nobody, ro takes standbys that take new connections and the primary only as asked.
func TestChoicesFollowTheState(t *testing.T) {
	t.Parallel()
	members := []*member{newMember(t, "a"), newMember(t, "b"), newMember(t, "c")}
	for seed := range uint64(200) {
		m := model{rng: rand.New(rand.NewPCG(seed, 1)), members: members}
		for range 20 {
			was := m.route
			m.next()
			is := m.route
			targets := newTargets(rw, is, nil)
			if want := is.Primary != nil && !is.Closed; (len(targets) == 1) != want || want && targets[0] != *is.Primary {
				t.Fatalf("seed %d: rw of %+v leads to %v", seed, is, targets)
			}
			for i, target := range newTargets(ro, is, nil) {
				isPrimary := is.Primary != nil && target == *is.Primary
				takes := slices.ContainsFunc(is.Standbys, func(s appliance.RouteStandby) bool { return s.RouteMember == target && s.New && !s.Drain })
				if isPrimary && (is.Closed || is.ROPrimary != appliance.ROPrimaryLast && is.ROPrimary != appliance.ROPrimaryAlways) || !isPrimary && !takes {
					t.Fatalf("seed %d: ro of %+v leads to %v at %d", seed, is, target, i)
				}
			}
			for _, member := range members {
				at := member.route()
				isPrimary := is.Primary != nil && at == *is.Primary
				if got := fateOf(rw, was, is, at); (got == keep) != isPrimary || got == drain {
					t.Fatalf("seed %d: rw to %v: fate %d from %+v to %+v", seed, at, got, was, is)
				}
				demoted := was.Primary != nil && at == *was.Primary && !isPrimary
				if got := fateOf(ro, was, is, at); demoted != (got == cut) {
					t.Fatalf("seed %d: ro to %v: fate %d from %+v to %+v", seed, at, got, was, is)
				}
			}
		}
	}
}

// TestRWNeverLeadsToAFormerPrimary opens sessions all the time while states change at
// random. Each session that is open after an answer leads to the primary of that state,
// and each that begins later as well.
func TestRWNeverLeadsToAFormerPrimary(t *testing.T) {
	t.Parallel()
	members := []*member{newMember(t, "a"), newMember(t, "b"), newMember(t, "c")}
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m := model{rng: rand.New(rand.NewPCG(seed, 2)), members: members}
			w := newWorld(t, appliance.Route{Primary: ptr(members[0].route())})
			m.route = w.route
			rw := w.route.RW // the goroutines below may not look at what apply changes
			stop := make(chan struct{})
			var work sync.WaitGroup
			for range 8 {
				work.Go(func() { reconnect(rw, stop) })
			}
			for range 150 {
				m.next()
				w.apply(func(r *appliance.Route) { *r = m.route })
				for _, open := range w.status().RW.Members {
					if m.route.Primary == nil || open.RouteMember != *m.route.Primary {
						t.Errorf("state %d: %d sessions lead to %s; the primary is %+v", w.n, open.Open, open.Name, m.route.Primary)
					}
				}
				if m.route.Primary != nil && !m.route.Closed {
					if _, name := greet(t, rw); name != m.route.Primary.Name {
						t.Errorf("state %d: led to %s, not to %s", w.n, name, m.route.Primary.Name)
					}
				}
			}
			close(stop)
			w.apply(func(r *appliance.Route) { r.Primary, r.Closed = ptr(members[0].route()), false })
			work.Wait()
		})
	}
}

// reconnect opens sessions, one after the other, until stop.
func reconnect(address string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		conn, err := dialTest(address)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(startupPacket())
		_, _ = conn.Read(make([]byte, 64))
		_ = conn.Close()
	}
}

// TestNothingIsLeftOfAThousandConnections opens connections that end in every way.
func TestNothingIsLeftOfAThousandConnections(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	w := newWorld(t, appliance.Route{Primary: ptr(a.route()), Standbys: []appliance.RouteStandby{standby(b)}, Wait: time.Second})
	descriptors, goroutines := openDescriptors(t), running()
	jobs := make(chan int)
	var work sync.WaitGroup
	for range 100 {
		work.Go(func() {
			for i := range jobs {
				address := w.route.RW
				if i%2 == 1 {
					address = w.route.RO
				}
				mistreat(i, address)
			}
		})
	}
	for i := range 1000 {
		if i%100 == 50 {
			w.apply(func(r *appliance.Route) { r.Primary = nil })
			w.apply(func(r *appliance.Route) { r.Primary = ptr(a.route()) })
		}
		jobs <- i
	}
	close(jobs)
	work.Wait()
	eventually(t, "no connection, descriptor or goroutine is left", func() bool {
		st := w.status()
		w.s.mu.Lock()
		known := 0
		for _, e := range w.s.endpoints {
			known += len(e.conns)
			for m, l := range e.loads {
				if l.conns < 0 {
					t.Errorf("%s has %d connections", m.Name, l.conns)
				}
			}
		}
		w.s.mu.Unlock()
		return known+st.RW.Open+st.RO.Open == 0 && a.open()+b.open() == 0 && openDescriptors(t) <= descriptors && running() <= goroutines
	})
}

// mistreat opens one connection and ends it in one of several ways.
func mistreat(i int, address string) {
	conn, err := dialTest(address)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 4096)
	switch i / 2 % 7 {
	case 0: // says nothing
		return
	case 1: // stops in the middle of the first packet
		_, _ = conn.Write(startupPacket()[:6])
		return
	case 2: // leaves while it may be waiting
		_, _ = conn.Write(startupPacket())
		return
	case 3: // is no client of PostgreSQL
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	_, _ = conn.Write(startupPacket())
	_, _ = conn.Read(buf)
	_, _ = conn.Write(buf)
	switch i / 2 % 7 {
	case 4: // closes one half and reads to the end
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	case 5: // reads slowly, then goes with a reset
		_, _ = conn.Read(buf[:1])
		_ = conn.SetLinger(0)
	case 6:
		_, _ = io.ReadFull(conn, buf)
	}
}
