package plan

import (
	"context"
	"maps"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// delayed tells whether the cluster's standbys replay later than they receive.
// Before the cluster is handed out, no standby is delayed, because a delayed
// standby would lack pgapp's password and the data for that time.
func delayed(c appliance.Cluster) bool {
	_, _, ok := postgres.ApplyDelay(c.Spec.Parameters)
	return ok && !unused(c)
}

// undelayed returns the parameters without the delay if the cluster is not handed
// out yet.
func undelayed(c appliance.Cluster, parameters map[string]string) map[string]string {
	name, _, ok := postgres.ApplyDelay(parameters)
	if !ok || !unused(c) {
		return parameters
	}
	parameters = maps.Clone(parameters)
	delete(parameters, name)
	return parameters
}

// delaySteps draws the steps that begin the delay of a new cluster's standbys. These
// steps come last, since a delay would hide failures from verify.
func (r *recipe) delaySteps(c appliance.Cluster, needs ...*node) {
	_, value, ok := postgres.ApplyDelay(c.Spec.Parameters)
	if !ok || !unused(c) {
		return
	}
	for _, m := range c.Standbys() {
		s := each(kindDelay, m.Name, "delay the replay by "+value)
		s.Do = r.delay(m.Name)
		r.add(s, needs...)
	}
}

func (w work) delay(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			f.cluster.Phase = appliance.PhaseReady
			if err := configure(ctx, f, m, mc, d.Limits); err != nil {
				return err
			}
			return postgres.ReloadConfig(ctx, mc, m.Port)
		})
	}
}

// delayedLook bounds each wait for streaming, after which waitDelayed asks the
// standbys whether they wait for their delay.
const delayedLook = time.Second

// waitDelayed waits until each standby streams or waits for its delay to pass, at most
// streamingTimeout. A started standby replays all its WAL before it requests more. For a
// paused one waiting can't help: the error is a [stuck].
func (w world) waitDelayed(ctx context.Context, f facts, primary *postgres.Control, names []string, report appliance.Report) error {
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	for {
		look, done := context.WithTimeout(ctx, delayedLook)
		err := postgres.WaitStreaming(look, primary, names)
		done()
		if err == nil || ctx.Err() != nil {
			return err
		}
		var waiting, rest []string
		for _, n := range names {
			if delaying(ctx, f, n) {
				waiting = append(waiting, n)
				continue
			}
			if why := w.paused(ctx, f, n, false); why != nil {
				return &stuck{n, why}
			}
			rest = append(rest, n)
		}
		if len(waiting) > 0 {
			report(appliance.Progress{Detail: strings.Join(waiting, ", ") + ": replay is delayed, and streaming follows it"})
		}
		if names = rest; len(names) == 0 {
			return nil
		}
	}
}

func delaying(ctx context.Context, f facts, member string) bool {
	m, ok := f.cluster.Member(member)
	if !ok {
		return false
	}
	c, err := f.control(ctx, m)
	if err != nil {
		return false // waitDelayed asks again
	}
	defer func() { _ = c.Close(ctx) }()
	ok, err = c.Delaying(ctx)
	return ok && err == nil
}
