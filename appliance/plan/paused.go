package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// pausedPoll is the pause between two looks whether a standby's replay is paused.
const pausedPoll = 500 * time.Millisecond

// stuck is a standby for which waiting can't help.
type stuck struct {
	member string
	why    *appliance.Problem
}

// Error returns the problem's message.
func (s *stuck) Error() string { return s.why.Error() }

// Unwrap returns the problem.
func (s *stuck) Unwrap() error { return s.why }

// unlessStuck runs waits, and ends it with a [stuck] for the first standby that the watch
// finds to be so. The watch returns nil when its context ends.
func unlessStuck(ctx context.Context, names []string, watch func(context.Context, string) *appliance.Problem, waits func(context.Context) error) error {
	waiting, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if why := watch(waiting, name); why != nil {
				stop(&stuck{name, why})
			}
		})
	}
	err := waits(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		err = context.Cause(waiting)
	}
	stop(nil)
	wg.Wait()
	return err
}

// pauses is a watch for standbys that have paused their replay. One that receives may be
// left out: it streams, and replays later. One that doesn't connects to the primary only
// when it goes on.
func (w world) pauses(f facts, receiving bool) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) (why *appliance.Problem) {
		if unused(f.cluster) { // it may have no role for pgapp yet
			return nil
		}
		_ = wait.Until(ctx, pausedPoll, func(ctx context.Context) (bool, error) {
			why = w.paused(ctx, f, name, receiving)
			return why != nil, nil
		})
		return why
	}
}

// paused says why the standby's replay is paused, nil if it isn't or the standby doesn't
// answer. A standby that receives counts only if receiving is set.
func (w world) paused(ctx context.Context, f facts, name string, receiving bool) *appliance.Problem {
	if p := w.pauseOf(ctx, f, name); p != nil && (receiving || !p.Receiving) {
		return pausedProblem(f.cluster.Name, name, *p)
	}
	return nil
}

// pauseOf returns the standby's pause, nil if its replay is not known to be paused.
func (w world) pauseOf(ctx context.Context, f facts, name string) (p *postgres.Pause) {
	m, ok := f.cluster.Member(name)
	if !ok {
		return nil
	}
	dial := func(ctx context.Context) (*postgres.Control, error) { return f.control(ctx, m) }
	err := w.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, name), dial, func(c *postgres.Control) (err error) {
		p, err = postgres.Paused(ctx, w.provider.Machine(f.cluster, m), c)
		return err
	})
	if err != nil {
		return nil
	}
	return p
}

func pausedProblem(cluster, member string, p postgres.Pause) *appliance.Problem {
	if p.Below != "" {
		return appliance.NewProblem(appliance.ErrReplication, "%s has paused its replay, since the primary's WAL asks for a %s of %d, and %s has %d", member, p.Below, p.Needs, member, p.Has).
			WithHint("%s; waiting doesn't help", goesOn(cluster, member, p))
	}
	return appliance.NewProblem(appliance.ErrReplication, "somebody has paused the replay of %s, which does not connect to the primary before it is resumed", member).
		WithHint("%s", goesOn(cluster, member, p))
}

// goesOn says what ends the pause.
func goesOn(cluster, member string, p postgres.Pause) string {
	if p.Below != "" {
		return fmt.Sprintf("pgapp restart %s --cluster %s raises its %s", member, cluster, p.Below)
	}
	return fmt.Sprintf("pgapp psql %s --role admin --cluster %s -- -c 'SELECT pg_wal_replay_resume()'", member, cluster)
}

// unpaused returns the standbys that replay. Of the others the operation notes why they
// don't.
func (w world) unpaused(ctx context.Context, f facts, names []string, report appliance.Report) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		why := w.paused(ctx, f, name, true)
		if why != nil {
			report(appliance.Progress{Note: why.Message + ": " + why.Hint})
		}
		return why != nil
	})
}

// awaitStreaming waits until the standbys stream, and have replayed what the primary had.
// For one that has paused its replay it doesn't wait: all others stream before the step
// fails with what is to be done about it.
func (w work) awaitStreaming(names []string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		names, err := w.unmarked(ctx, names)
		var hopeless []*appliance.Problem
		for err == nil && len(names) > 0 {
			var s *stuck
			if err = w.leading(ctx, report, func() error { return w.stream(ctx, names, report) }); err == nil {
				err = streamed(ctx, w.world, names, report)
				break
			}
			if w.op.Params.Reason != "" || !errors.As(err, &s) {
				break
			}
			report(appliance.Progress{Detail: "not waiting for " + s.member + ": " + s.Error()})
			hopeless = append(hopeless, s.why)
			names, err = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == s.member }), nil
		}
		if err != nil && (len(hopeless) == 0 || ctx.Err() != nil) {
			return err
		}
		return together(hopeless, err)
	}
}

// together makes one problem of several and an error, nil of none.
func together(problems []*appliance.Problem, err error) error {
	if err != nil {
		problems = append(problems, appliance.AsProblem(err))
	}
	if len(problems) < 2 {
		if len(problems) == 0 {
			return nil
		}
		return problems[0]
	}
	var text []string
	for _, p := range problems {
		text = append(text, p.Message)
	}
	return appliance.NewProblem(problems[0].ID, "%s", strings.Join(text, "; ")).WithHint("%s", problems[0].Hint)
}

// stream waits until the standbys stream, and then for a while until they have replayed
// what the primary has.
func (w work) stream(ctx context.Context, names []string, report appliance.Report) error {
	return w.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		if delayed(f.cluster) {
			return unlessStuck(ctx, names, either(w.ends(f), w.lacksWAL(f)), func(ctx context.Context) error { return w.waitDelayed(ctx, f, c, names, report) })
		}
		if err := w.await(ctx, f, c, names); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, replayTimeout)
		defer cancel()
		if names = w.unpaused(ctx, f, names, report); len(names) > 0 {
			_ = postgres.WaitReplayed(ctx, c, names)
		}
		return nil
	})
}

// await waits until the standbys stream. What pgapp begins by itself must not wait long
// for one that can't: there may be more to do.
func (w work) await(ctx context.Context, f facts, c *postgres.Control, names []string) error {
	if w.op.Params.Reason != "" {
		return w.waitMoving(ctx, f, c, names)
	}
	return unlessStuck(ctx, names, either(w.pauses(f, false), w.ends(f), w.lacksWAL(f)), func(ctx context.Context) error { return waitStreaming(ctx, c, names) })
}
