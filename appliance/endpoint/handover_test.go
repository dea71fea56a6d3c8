package endpoint

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// TestLateHandoverLeavesTheEarlierProcess starts a process of a newer build that nobody
// waits for any more: the earlier one goes on with all it has, and takes states.
func TestLateHandoverLeavesTheEarlierProcess(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	p := newProcess(t)
	routes := routesTo(t, 7, a)
	first := p.ensure("one", routes)
	session, _ := greet(t, routes.Clusters[0].RW)
	p.startsLate("two", routes)
	if err := session.echoes(); err != nil {
		t.Errorf("a session of before: %v", err)
	}
	routes.Number, routes.Clusters[0].Primary = 8, ptr(b.route())
	if s := p.apply(routes); s.PID != first.PID || s.Draining != 0 {
		t.Errorf("status %+v, want that of process %d", s, first.PID)
	}
	if _, name := greet(t, routes.Clusters[0].RW); name != "b" {
		t.Errorf("led to %q", name)
	}
}

// TestHandoverToAProcessThatEndsAtOnce has the newer process end when it has the control
// socket, and before the earlier one has heard that it serves. Nobody reaches the earlier
// one then.
func TestHandoverToAProcessThatEndsAtOnce(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	p := newProcess(t)
	routes := routesTo(t, 7, a)
	first := p.ensure("one", routes)
	in, err := inherit(t.Context(), p.home)
	if err != nil {
		t.Fatal(err)
	}
	k, err := listenControl(t.Context(), p.home)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.listener.Close(); err != nil {
		t.Fatal(err)
	}
	in.close()
	eventually(t, "the earlier process ends", func() bool { return !alive(first.PID) })
	if s := p.ensure("one", appliance.Routes{}); s.Number != 7 {
		t.Errorf("the next process holds state %d", s.Number)
	}
	if _, name := greet(t, routes.Clusters[0].RW); name != "a" {
		t.Errorf("led to %q", name)
	}
}

// TestFrozenEarlierProcess freezes a process that has handed over and still has a
// connection. The newer one answers as before, and a new state or a stop ends the frozen
// one.
func TestFrozenEarlierProcess(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(p process, routes appliance.Routes){
		"state": func(p process, routes appliance.Routes) {
			routes.Number++
			p.apply(routes)
		},
		"stop": func(p process, _ appliance.Routes) {
			if err := p.client.Stop(p.t.Context()); err != nil {
				p.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newMember(t, "a")
			p := newProcess(t)
			routes := routesTo(t, 1, a)
			first := p.ensure("one", routes)
			old, _ := greet(t, routes.Clusters[0].RW)
			p.ensure("two", appliance.Routes{})
			halt(t, first.PID)
			st, err := p.client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c, _ := st.Cluster("main"); st.Draining != 1 || c.RW.Open != 1 {
				t.Errorf("status %+v", st)
			}
			act(p, routes)
			if alive(first.PID) {
				t.Error("the frozen process is alive")
			}
			if err := old.echoes(); err == nil {
				t.Error("the connection of the frozen process goes on")
			}
		})
	}
}

func TestNewerBuildTakesOverInTheMiddleOfATransfer(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	p := newProcess(t)
	routes := routesTo(t, 1, a)
	first := p.ensure("one", routes)
	address := routes.Clusters[0].RW
	old, _ := greet(t, address)
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := old.echoes(); err != nil {
				t.Errorf("the transfer: %v", err)
				return
			}
		}
	})
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s, name := greet(t, address)
			_ = s.conn.Close()
			if name != "a" {
				t.Errorf("led to %q", name)
			}
		}
	})
	second := p.ensure("two", appliance.Routes{})
	if second.PID == first.PID || second.Build != "two" || second.Number != 1 || second.Draining != 1 {
		t.Fatalf("status %+v", second)
	}
	third := p.ensure("three", appliance.Routes{})
	if third.Draining == 0 {
		t.Errorf("status %+v", third)
	}
	close(stop)
	work.Wait()
	st, err := p.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := st.Cluster("main"); c.RW.Open < 1 {
		t.Errorf("the drained session is not counted: %+v", c)
	}
	next := routes.Clusters[0]
	next.Primary = ptr(b.route())
	p.apply(appliance.Routes{Number: 2, Clusters: []appliance.Route{next}})
	if err := old.ends(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the drained session of a former primary ends with %v", err)
	}
	eventually(t, "the earlier processes end", func() bool {
		st, err := p.client.Status(t.Context())
		return err == nil && st.Draining == 0 && !alive(first.PID) && !alive(second.PID)
	})
}
