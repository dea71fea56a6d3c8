package daemon

import (
	"context"

	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/ha/watch"
)

// stateLoops are the loops that live as long as the state is open. They end
// before the runner, the sessions and the store are closed.
func stateLoops(backups *statebackup.Loop, memory supervise.Signal, watcher *watch.Watcher) []supervise.Loop {
	return []supervise.Loop{
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
