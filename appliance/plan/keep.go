package plan

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

const (
	keepPoll = 100 * time.Millisecond
	// keepLooks is the number of looks that have to agree on a standby's end.
	keepLooks = 3
	// keepClean is how long a standby that somebody shut down is left to that person.
	keepClean = 3 * time.Second
	// keepSettle is how long the promise may differ from what streams while commits go on.
	keepSettle = 2 * time.Second
	// keepPause bounds the pauses between two starts of a standby.
	keepPause = time.Minute
)

// keeper keeps the other standbys while an operation waits for one member, as the watch
// does between operations: one that dies is started again, and the promise follows what
// streams, so that no commit waits for the operation. It changes nothing that the
// operation itself changes.
type keeper struct {
	work work
	// member is the operation's own, empty if it has several.
	member string
	down   map[string]*downtime
	// unsettled is since when the promise is not what streams, zero while it is.
	unsettled time.Time
}

// downtime is a standby's time without a server.
type downtime struct {
	since, next time.Time
	looks       int
	tried       int
}

// keeping calls do, and keeps the other standbys until do returns.
func (w work) keeping(ctx context.Context, member string, report appliance.Report, do func() error) error {
	kept, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	only := w.op.Kind == appliance.OpStart && w.op.Params.Member != "" // else others start all members at the same time
	if only || w.op.Kind == appliance.OpRejoin || w.op.Kind == appliance.OpSwitchover || w.op.Kind == appliance.OpFailover {
		k := &keeper{work: w, member: member, down: map[string]*downtime{}}
		again := func(turn func(context.Context)) {
			_ = wait.Until(kept, keepPoll, func(ctx context.Context) (bool, error) { turn(ctx); return false, nil })
		}
		wg.Go(func() { again(func(ctx context.Context) { k.starts(ctx, report) }) })
		wg.Go(func() { again(k.promise) }) // commits must not wait for a start
	}
	err := w.leading(ctx, report, do)
	stop()
	wg.Wait()
	return err
}

// starts starts the others that have ended, unless another step of the operation does.
func (k *keeper) starts(ctx context.Context, report appliance.Report) {
	select {
	case k.work.keepers <- struct{}{}:
		defer func() { <-k.work.keepers }()
	default:
		return
	}
	f, err := k.work.facts(ctx)
	if err != nil || f.cluster.Spec.Automatic == appliance.AutomaticOff || changing(f.cluster, k.work.op) || f.cluster.Pause.Holds(time.Now()) {
		return
	}
	for _, m := range f.cluster.Standbys() {
		if m.Name != k.member && !m.WantStopped && m.Return == "" {
			k.look(ctx, f, m, report)
		}
	}
}

// promise settles the promise on what streams: at once if commits wait for standbys that
// don't. What fails is tried again in the next turn, and told by the operation's own step.
func (k *keeper) promise(ctx context.Context) {
	if !k.work.decision.Promise {
		return
	}
	limited, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	p := settling{work: k.work}
	due := false
	err := k.work.inPrimary(limited, func(f facts, c *postgres.Control) error {
		if changing(f.cluster, k.work.op) {
			return nil
		}
		rows, err := c.Replication(limited)
		if err != nil {
			return err
		}
		want, err := p.wanted(f.cluster, rows)
		if err != nil || want == nil || want.Equal(f.cluster.Promise) && want.Equal(f.cluster.Sync) {
			k.unsettled = time.Time{}
			return err
		}
		if k.unsettled.IsZero() {
			k.unsettled = time.Now()
		}
		due = blocked(f.cluster.Sync, want.Set) || time.Since(k.unsettled) >= keepSettle
		return nil
	})
	if err == nil && due {
		_ = p.settle(ctx, quiet)
	}
}

// blocked tells whether commits wait under the setting, with these standbys alone.
func blocked(setting appliance.Promise, streams []string) bool {
	n := 0
	for _, s := range streams {
		if setting.Has(s) {
			n++
		}
	}
	return n < setting.K
}

// look starts the standby if it has ended.
func (k *keeper) look(ctx context.Context, f facts, m appliance.Member, report appliance.Report) {
	if !k.gone(ctx, f, m) {
		delete(k.down, m.Name)
		return
	}
	now := time.Now()
	d := k.down[m.Name]
	if d == nil {
		d = &downtime{since: now, next: now}
		if k.clean(ctx, f, m) {
			d.next = now.Add(keepClean)
		}
		k.down[m.Name] = d
	}
	if d.looks++; d.looks < keepLooks || now.Before(d.next) {
		return
	}
	report(appliance.Progress{Note: "started " + m.Name + " again, which had ended meanwhile"})
	d.next = now.Add(min(time.Second<<min(d.tried, 6), keepPause))
	d.tried++
	err := k.work.provider.StartMachine(ctx, f.cluster, m, quiet)
	if err == nil {
		err = starter{work: k.work, member: m.Name}.do(ctx, quiet)
	}
	if err != nil && ctx.Err() == nil { // tried again after the pause
		report(appliance.Progress{Note: m.Name + " did not start: " + err.Error()})
	}
}

func quiet(appliance.Progress) {}

// gone tells whether the machine says that the standby's server has ended, and nobody
// listens at its address.
func (k *keeper) gone(ctx context.Context, f facts, m appliance.Member) bool {
	w, ok := k.work.provider.(appliance.Watched)
	if !ok {
		return false
	}
	sign, err := w.Sign(ctx, f.cluster, m)
	return err == nil && sign.Vital == appliance.VitalGone && !postgres.Accepts(ctx, m.Host, m.Port)
}

// clean tells whether the standby was shut down. A virtual machine that is off can't be
// asked.
func (k *keeper) clean(ctx context.Context, f facts, m appliance.Member) bool {
	if m.Placement == appliance.PlacementVM {
		return false
	}
	d, err := postgres.InspectDataDir(ctx, k.work.provider.Machine(f.cluster, m))
	return err == nil && d.State == "shut down in recovery"
}
