package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/wait"
	"pgapp/store"
)

// TestMain also is the endpoint process that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "endpoint-process" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := endpoint.Run(ctx, endpoint.Config{Home: os.Args[2], Build: "one", Log: os.Stderr})
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// realProcess is the endpoint process of a home.
type realProcess struct{ endpoint.Contact }

func (p *realProcess) Ensure(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	self, err := os.Executable()
	if err != nil {
		return appliance.RouteStatus{}, err
	}
	return p.Contact.Ensure(ctx, endpoint.Program{Home: p.Home, Build: "one", Routes: routes, Argv: []string{self, "endpoint-process", p.Home}})
}

// desk is a router over a real store and a real process. It chooses ports as given.
type desk struct {
	*Router
	t     *testing.T
	st    *store.Store
	home  string
	allot error
	next  []appliance.Endpoints
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir, store.Options{Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, st: st, home: dir}
	process := &realProcess{endpoint.Contact{Client: endpoint.Client{Home: dir}}}
	d.Router = New(Config{
		Store: st, Process: process, Build: "one", Ports: d, Log: slog.New(slog.DiscardHandler),
		Observing: func(context.Context) (string, error) { return "", nil },
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := errors.Join(process.Stop(ctx), st.Close(), lock.Release()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) Allot(context.Context) error { return d.allot }

func (d *desk) Hold(ctx context.Context, cluster string, _ appliance.Endpoints) error {
	return d.update(ctx, cluster, func(c *appliance.Cluster) { c.EndpointsHeld = true })
}

func (d *desk) Move(ctx context.Context, cluster string, _ appliance.Endpoints) error {
	return d.update(ctx, cluster, func(c *appliance.Cluster) { c.Endpoints, d.next = &d.next[0], d.next[1:] })
}

func (d *desk) update(ctx context.Context, cluster string, change func(*appliance.Cluster)) error {
	_, err := d.st.UpdateCluster(ctx, cluster, func(c *appliance.Cluster) error {
		change(c)
		return nil
	})
	return err
}

// cluster records a cluster of one member with endpoints at these ports, if any.
func (d *desk) cluster(name string, at *appliance.Endpoints) {
	d.t.Helper()
	c := appliance.Cluster{
		Name: name, UUID: name, Phase: appliance.PhaseCreating, Primary: "node0", Epoch: 1, Timeline: 1, Endpoints: at,
		Spec:    appliance.Spec{Name: name, EndpointSpec: appliance.EndpointSpec{Endpoint: appliance.EndpointOn}},
		Members: []appliance.Member{{Name: "node0", Host: "127.0.0.1", Port: 1}},
	}
	err := d.st.Begin(d.t.Context(), appliance.Beginning{
		Operation: appliance.Operation{ID: name, Cluster: name, Kind: appliance.OpUp, State: appliance.OpRunning},
		Create:    &appliance.NewCluster{Cluster: c},
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) status() appliance.RouteStatus {
	d.t.Helper()
	s, err := d.cfg.Process.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// halt freezes the process and returns when each of its threads has stopped.
func (d *desk) halt() {
	d.t.Helper()
	pid := d.status().PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		running := false
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, path := range paths {
			text, err := os.ReadFile(path) // a thread that ended has none
			running = running || err == nil && !strings.Contains(string(text), ") T ")
		}
		if !running && len(paths) > 0 {
			return
		}
		if time.Now().After(end) {
			d.t.Fatal("the process does not stop")
		}
	}
}

// pair is two ports that were free just now, and a listener at the first of them.
func pair(t *testing.T) (*appliance.Endpoints, net.Listener) {
	t.Helper()
	var at [2]net.Listener
	for i := range at {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		at[i] = l
	}
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	_ = at[1].Close()
	return &appliance.Endpoints{RW: port(at[0]), RO: port(at[1])}, at[0]
}

func freePair(t *testing.T) *appliance.Endpoints {
	t.Helper()
	e, l := pair(t)
	_ = l.Close()
	return e
}

func TestWorkServesTheOthersOfAClusterWithoutPorts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.allot = errors.New("no port is free")
	d.cluster("lacks", nil)
	d.cluster("main", freePair(t))
	if err := d.Work(t.Context()); !errors.Is(err, d.allot) {
		t.Errorf("work: error %v, want %v", err, d.allot)
	}
	if s, ok := d.status().Cluster("main"); !ok || s.RW.Problem != "" {
		t.Errorf("the cluster with ports has %+v", s)
	}
}

func TestWorkMovesPortsThatAnotherProgramGot(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	taken, l := pair(t)
	want := freePair(t)
	d.next = []appliance.Endpoints{*want}
	d.cluster("main", taken)
	for range 2 {
		if err := d.Work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := d.st.Cluster(t.Context(), "main")
	if err != nil || *c.Endpoints != *want || !c.EndpointsHeld {
		t.Fatalf("ports %+v, held %v, error %v; want %+v", c.Endpoints, c.EndpointsHeld, err, want)
	}
	// A pair that was held once is kept, though the other program goes.
	_ = l.Close()
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := d.status().Cluster("main"); s.RW.Address != want.RWAddress() || s.RW.Problem != "" {
		t.Errorf("status %+v", s)
	}
}

func TestSettleKillsAFrozenProcessInAChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.cluster("main", freePair(t))
	if err := d.update(t.Context(), "main", func(c *appliance.Cluster) { c.Phase = appliance.PhaseReady }); err != nil {
		t.Fatal(err)
	}
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := d.status().PID
	if err := d.update(t.Context(), "main", func(c *appliance.Cluster) {
		c.Change = &appliance.PrimaryChange{Phase: appliance.ChangeFencing}
	}); err != nil {
		t.Fatal(err)
	}
	d.halt()
	if err := d.Settle(t.Context(), "main", false); !appliance.IsProblem(err, appliance.ErrTimeout) {
		t.Errorf("settling with a frozen process: error %v, want %s", err, appliance.ErrTimeout)
	}
	if err := d.Settle(t.Context(), "main", false); err != nil {
		t.Errorf("settling without a process: %v", err)
	}
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.status(); s.PID == was || !s.Clusters[0].Closed {
		t.Errorf("status %+v; want another process that keeps rw closed", s)
	}
}

func TestRunReplacesAFrozenProcess(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.cluster("main", freePair(t))
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := d.status().PID
	d.halt()
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = d.Run(ctx) })
	d.Begin()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-tick.C {
		asked, cancel := context.WithTimeout(t.Context(), time.Second)
		s, err := endpoint.Client{Home: d.home}.Status(asked) // the router's own question is what counts
		cancel()
		if err == nil && s.PID != was {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the frozen process was not replaced: %+v, %v", s, err)
		}
	}
	stop()
	run.Wait()
}

// TestWorkLeadsByTheRecordAgain finds a process that somebody has made lead elsewhere, and one
// that ends with that in its file.
func TestWorkLeadsByTheRecordAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.cfg.Serves = func(context.Context, appliance.Cluster) bool { return true }
	at := freePair(t)
	d.cluster("main", at)
	if err := d.update(t.Context(), "main", func(c *appliance.Cluster) { c.Phase = appliance.PhaseReady }); err != nil {
		t.Fatal(err)
	}
	led := func() {
		t.Helper()
		var s appliance.ClusterRouteStatus
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := wait.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
			if err := d.Work(ctx); err != nil {
				return false, err
			}
			s, _ = d.status().Cluster("main")
			return s.Primary != nil && s.Primary.Address == "127.0.0.1:1" && !s.Closed && s.RW.Problem == "", nil
		})
		if err != nil {
			t.Errorf("status %+v, %v", s, err)
		}
	}
	led()
	elsewhere := appliance.Routes{Number: 1 << 62, Clusters: []appliance.Route{{
		Cluster: "main", RW: at.RWAddress(), RO: at.ROAddress(), Primary: &appliance.RouteMember{Name: "node0", Address: "127.0.0.1:9"},
	}}}
	for range 2 {
		if _, err := d.cfg.Process.Apply(t.Context(), elsewhere); err != nil {
			t.Fatal(err)
		}
		led()
		elsewhere.Number += 1 << 61
	}
	if _, err := d.cfg.Process.Apply(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := d.cfg.Process.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	led()
}

// TestWorkLeavesTheProcessOfALostState has a daemon find an empty state in a home whose
// clusters live.
func TestWorkLeavesTheProcessOfALostState(t *testing.T) {
	t.Parallel()
	d, lost := newDesk(t), newDesk(t)
	d.cluster("main", freePair(t))
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := d.status()
	lost.cfg.Process = d.cfg.Process
	if err := lost.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := d.status(); now.PID != was.PID || len(now.Clusters) != 1 {
		t.Errorf("status %+v, want that of process %d as before", now, was.PID)
	}
}

func TestSettleEndsAFrozenProcessWithTheLastCluster(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.cluster("main", freePair(t))
	if err := d.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.halt()
	if err := d.update(t.Context(), "main", func(c *appliance.Cluster) { c.Phase = appliance.PhaseRemoving }); err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(t.Context(), "main", false); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.home, "endpoint*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}
