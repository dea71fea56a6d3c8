package daemon

import (
	"context"

	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/ha/watch"
	"pgapp/appliance/routing"
)

// stateLoops are the loops that live as long as the state is open. They end
// before the runner, the sessions and the store are closed.
func stateLoops(backups *statebackup.Loop, memory supervise.Signal, watcher *watch.Watcher, router *routing.Router) []supervise.Loop {
	return []supervise.Loop{
		{Name: "endpoints", Run: router.Run},
		{Name: "watch", Run: watcher.Run},
		{Name: "state-backups", Run: backups.Run},
		{Name: "memory", Run: func(ctx context.Context) error { return releaseLoop(ctx, memory) }},
	}
}

// releaseLoop gives back memory at each signal, until ctx ends.
func releaseLoop(ctx context.Context, idle supervise.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-idle.C():
			releaseMemory()
		}
	}
}
