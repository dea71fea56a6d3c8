package daemon

import (
	"context"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/ha/watch"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
	"pgapp/appliance/routing"
)

// serving runs a daemon in this process, with loops besides its own, and returns
// its client. It ends with the test.
func serving(t *testing.T, more ...supervise.Loop) *api.Client {
	t.Helper()
	dir := t.TempDir()
	s := &server{
		Serving: program.Serving{Home: dir, Listen: "127.0.0.1:0", Err: io.Discard},
		assets:  Assets{PostgresTree: fstest.MapFS{}, Pagila: fstest.MapFS{}},
		loops: func(backups *statebackup.Loop, memory supervise.Signal, watcher *watch.Watcher, router *routing.Router) []supervise.Loop {
			return append(stateLoops(backups, memory, watcher, router), more...)
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return api.NewUnixClient(filepath.Join(dir, home.Socket))
}

// infoWhere asks until the daemon answers as wanted.
func infoWhere(t *testing.T, c *api.Client, wanted func(appliance.Info) bool) appliance.Info {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := c.Info(t.Context())
		if err == nil && wanted(info) {
			return info
		}
		select {
		case <-deadline:
			t.Fatalf("the daemon's last word: %+v, %v", info, err)
		case <-tick.C:
		}
	}
}

func TestInfoShowsALoopThatPanics(t *testing.T) { //nolint:paralleltest // the daemon clears the process's environment
	c := serving(t, supervise.Loop{Name: "monitor", Run: func(context.Context) error { panic("nil map") }})
	info := infoWhere(t, c, func(i appliance.Info) bool { return len(i.Loops) > 0 })
	if l := info.Loops[0]; len(info.Loops) != 1 || l.Loop != "monitor" || l.Error != "panic: nil map" || l.Failures < 1 || info.Mode != "normal" {
		t.Errorf("info is %+v", info)
	}
	if list, err := c.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("the daemon serves %v, %v", list, err)
	}
}

// TestReplacedStateBeginsLoopsAnew wants each run of a loop to end before the
// next begins, and none to outlive the daemon.
func TestReplacedStateBeginsLoopsAnew(t *testing.T) { //nolint:paralleltest // the daemon clears the process's environment
	var begun, alive atomic.Int32
	t.Cleanup(func() { // after the daemon's end
		if n := alive.Load(); n != 0 {
			t.Errorf("%d loops outlive the daemon", n)
		}
	})
	c := serving(t, supervise.Loop{Name: "counted", Needs: []string{"state-backups"}, Run: func(ctx context.Context) error {
		begun.Add(1)
		if n := alive.Add(1); n > 1 {
			t.Errorf("%d runs at once", n)
		}
		<-ctx.Done()
		alive.Add(-1)
		return nil
	}})
	infoWhere(t, c, func(appliance.Info) bool { return begun.Load() == 1 })
	if _, err := c.CompactState(t.Context()); err != nil {
		t.Fatal(err)
	}
	infoWhere(t, c, func(appliance.Info) bool { return begun.Load() == 2 })
}

func TestUnknownNeedEndsTheStart(t *testing.T) { //nolint:paralleltest // the daemon clears the process's environment
	s := &server{
		Serving: program.Serving{Home: t.TempDir(), Listen: "127.0.0.1:0", Err: io.Discard},
		assets:  Assets{PostgresTree: fstest.MapFS{}, Pagila: fstest.MapFS{}},
		loops: func(*statebackup.Loop, supervise.Signal, *watch.Watcher, *routing.Router) []supervise.Loop {
			return []supervise.Loop{{Name: "monitor", Needs: []string{"sampler"}}}
		},
	}
	for range 2 { // the first leaves nothing locked or open
		if err := s.serve(t.Context()); err == nil || appliance.IsProblem(err, appliance.ErrHomeLocked) {
			t.Fatal(err)
		}
	}
}
