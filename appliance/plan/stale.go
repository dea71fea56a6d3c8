package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// stale tells whether the standby has not been seen to stream since the last change of
// primary. Its WAL may have left the primary's: the user may have stopped it before, or a
// kill or a cancel may have kept the change from looking at it.
func stale(c appliance.Cluster, m appliance.Member) bool {
	if n := len(c.Promotions); n > 0 && c.Promotions[n-1].Reason == appliance.ReasonAdopted {
		return false // an adoption knows the members by their data, and not in which epoch they got them
	}
	return c.Epoch > 1 && m.Epoch != c.Epoch // before the first change no epoch tells members apart
}

// foreign marks a running standby that can't follow the recorded primary, and says why. It
// may be on a timeline of another promotion, which took a number of the recorded primary's:
// streaming would not notice that. Or it has gone beyond the place where the primary's
// timeline began: the primary would refuse it, and take its positions for its own WAL's
// meanwhile.
func (s starter) foreign(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, seen postgres.Observation) (why string, err error) {
	if !stale(f.cluster, m) {
		return "", nil
	}
	timeline, err := postgres.ReplayTimeline(ctx, m.Host, m.Port, f.secrets.Get(appliance.SecretReplicator))
	if err != nil {
		return "", err
	}
	line, err := postgres.ReadLine(ctx, mc, timeline)
	if err != nil {
		return "", err
	}
	received, e1 := appliance.ParseLSN(seen.ReceiveLSN)
	replayed, e2 := appliance.ParseLSN(seen.LSN)
	if err := errors.Join(e1, e2); err != nil {
		return "", err
	}
	known, standing := ha.Known{Line: f.cluster.Line()}, ha.Standing{Line: line, Received: received, Replayed: replayed}
	switch {
	case ha.Foreign(f.cluster.Promotions, m.Epoch, line) != 0:
		why = "its WAL is of a promotion that the record does not have"
	case ha.WayOf(known, standing) != appliance.WayFollow:
		why = fmt.Sprintf("it has WAL up to %s that the primary does not have", standing.Position())
	default:
		return "", nil
	}
	return why, s.mark(ctx)
}

// pointPause is the pause between two attempts to point standbys that are silent.
const pointPause = 500 * time.Millisecond

// pointing calls do, which waits for standbys. Unless all are pointed to the new primary, it
// goes on pointing them meanwhile: one that was silent may answer again.
func pointing(ctx context.Context, p primaryChange, all bool, report appliance.Report, do func() error) error {
	if all {
		return do()
	}
	pointed, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = wait.Until(pointed, pointPause, func(ctx context.Context) (bool, error) {
			all, err := pointRest(ctx, p, report)
			return all && err == nil, nil // tried again where it failed
		})
	})
	err := do()
	stop()
	wg.Wait()
	return err
}

// pointRest points the running standbys that the change has not pointed to the new
// primary, as those that gave no answer when the candidate got on record, and tells whether
// none is left. What fails is told, and the member is marked when it doesn't stream.
func pointRest(ctx context.Context, p primaryChange, report appliance.Report) (all bool, err error) {
	f, err := p.work.facts(ctx)
	if err != nil {
		return false, err
	}
	var left atomic.Bool
	var wg sync.WaitGroup
	for _, m := range f.cluster.Standbys() {
		ch := p.change(f.cluster)
		if ch == nil || m.Name == ch.From || slices.Contains(ch.Followers, m.Name) || m.WantStopped || m.Return != "" {
			continue
		}
		wg.Go(func() {
			mc := p.work.provider.Machine(f.cluster, m)
			running, err := mc.ServerRunning(ctx)
			if err == nil && running {
				err = starter{work: p.work, member: m.Name}.settleStandby(ctx, f, m, mc, report)
			}
			if err != nil {
				left.Store(true)
				report(appliance.Progress{Detail: m.Name + " is not pointed to the new primary: " + err.Error()})
			}
		})
	}
	wg.Wait()
	return !left.Load(), ctx.Err()
}
