package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

const (
	// endedPoll is the pause between two looks whether a standby's server has ended.
	endedPoll = time.Second
	// endedLooks is the number of consecutive looks that find no server.
	endedLooks = 2
)

// ends is a watch for standbys whose server has ended, though it was started before. A
// machine that can't be asked is not known to have none.
func (w world) ends(f facts) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) (why *appliance.Problem) {
		m, ok := f.cluster.Member(name)
		if !ok {
			return nil
		}
		mc, none := w.provider.Machine(f.cluster, m), 0
		_ = wait.Until(ctx, endedPoll, func(ctx context.Context) (bool, error) {
			running, err := mc.ServerRunning(ctx)
			if none++; running || err != nil {
				none = 0
			}
			return none >= endedLooks, nil
		})
		if none < endedLooks {
			return nil
		}
		return appliance.NewProblem(appliance.ErrReplication, "the server of %s has ended, and was to stream from the primary", name).
			WithHint("pgapp logs %s --cluster %s says why; pgapp start %s --cluster %s starts it", name, f.cluster.Name, name, f.cluster.Name)
	}
}

// either ends with the first of the watches that finds something.
func either(watches ...func(context.Context, string) *appliance.Problem) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) *appliance.Problem {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		found := make(chan *appliance.Problem, len(watches))
		for _, watch := range watches {
			go func() { found <- watch(ctx, name) }()
		}
		var why *appliance.Problem
		for range watches {
			if p := <-found; p != nil && why == nil {
				why = p
				stop()
			}
		}
		return why
	}
}
