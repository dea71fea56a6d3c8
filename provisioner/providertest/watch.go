package providertest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// watcher watches one member and counts the calls of wake.
type watcher struct {
	server
	p     appliance.Watched
	wakes atomic.Int64
}

// testWatch changes a member's server from outside, and expects a wake and the
// right sign after each change.
func testWatch(t *testing.T, f Fixture, c appliance.Cluster, m appliance.Member) {
	p, ok := f.Provider.(appliance.Watched)
	if !ok {
		t.Fatalf("%T can't be watched", f.Provider)
	}
	w := &watcher{server: server{t: t, f: f, c: c, m: m, mc: f.Provider.Machine(c, m)}, p: p}
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { p.Watch(ctx, c, m, func(string) { w.wakes.Add(1) }) })
	defer ended.Wait()
	defer stop()

	w.soon(t, "a wake when the watch begins", func() bool { return w.wakes.Load() > 0 })
	if !f.OwnMachines { // the machine of a stopped server runs
		w.expect(t, appliance.VitalGone)
	}
	w.begin(t)
	for range 2 { // a new server is watched like the first
		t.Run("a server that ends", func(t *testing.T) {
			w.after(t, func() { f.Kill(t, c, m) }, appliance.VitalGone)
			if err := w.mc.Fence(f.context(t)); err != nil { // what the first process left
				t.Fatalf("Fence: %v", err)
			}
			w.begin(t)
		})
	}
	for _, h := range f.Halts {
		t.Run(h.Name, func(t *testing.T) {
			resume := func() {}
			defer func() { resume() }()
			w.after(t, func() { resume = h.Do(t, c, m) }, appliance.VitalHalted)
			w.after(t, func() {
				goOn := resume
				resume = func() {} // a machine that runs can't be resumed
				goOn()
			}, appliance.VitalRunning)
		})
	}
	w.stop(appliance.StopFast)
	if !f.OwnMachines {
		w.expect(t, appliance.VitalGone)
	}
}

// begin starts the machine and the server, and expects what a start of either
// changes.
func (w *watcher) begin(t *testing.T) {
	t.Helper()
	machine := func() {
		if err := w.f.Provider.StartMachine(w.f.context(t), w.c, w.m, ignore); err != nil {
			t.Fatalf("StartMachine: %v", err)
		}
	}
	if w.f.OwnMachines { // a server's start is no event there, only the machine's
		if w.sign(t).Vital == appliance.VitalRunning {
			machine()
		} else {
			w.after(t, machine, appliance.VitalRunning)
		}
		w.on(t).start()
		return
	}
	machine()
	w.after(t, w.on(t).start, appliance.VitalRunning)
}

// after makes a change while Watch is quiet, and expects a wake and the sign.
func (w *watcher) after(t *testing.T, change func(), want appliance.Vital) {
	t.Helper()
	w.settle(t)
	before := w.wakes.Load()
	change()
	w.soon(t, "a wake to "+string(want), func() bool { return w.wakes.Load() > before })
	w.expect(t, want)
}

// quiet is longer than a provider takes between two looks.
const quiet = time.Second

// settle waits until nothing has been woken for a while.
func (w *watcher) settle(t *testing.T) {
	t.Helper()
	last, since := w.wakes.Load(), time.Now()
	w.soon(t, "rest", func() bool {
		if now := w.wakes.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > quiet
	})
}

func (w *watcher) expect(t *testing.T, want appliance.Vital) {
	t.Helper()
	w.soon(t, "the sign "+string(want), func() bool { return w.sign(t).Vital == want })
}

func (w *watcher) sign(t *testing.T) appliance.Sign {
	t.Helper()
	got, err := w.p.Sign(w.f.context(t), w.c, w.m)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	if got.Detail == "" {
		t.Errorf("the sign %q says nothing of its reason", got.Vital)
	}
	return got
}

// soon polls until ok is true.
func (w *watcher) soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.f.context(t), w.f.soon())
	defer cancel()
	err := wait.Until(ctx, 20*time.Millisecond, func(context.Context) (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("%s: not in time, the sign is %+v: %v", what, w.sign(t), err)
	}
}
