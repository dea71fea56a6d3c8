package plan

import (
	"context"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// moveForParameters has the primary of an up that applies parameters by a restart move,
// after the standbys have been restarted with the parameters. applied are the steps that
// apply the parameters to all members. All other steps of the plan are drawn before.
//
// PostgreSQL's rule is that a standby's limits are never below its primary's. If a limit
// rises, the standbys have it when one of them takes over. A limit falls on the primary
// first, so the primary then restarts in place, and the standbys follow.
func moveForParameters(r *recipe, applied []*node) {
	from := r.decision.Primary
	if from == "" {
		return
	}
	m := newMove(r.work, from)
	m.waits = r.waitsForRestart
	inPlace := r.of(kindApply, from)
	after := r.behindOf(inPlace)
	changed := m.draw(r)
	for _, n := range r.nodes {
		if n != changed && !after[n] {
			changed.need(n)
		}
	}
	changed.need(promisedStep(r, inPlace.needs...))
	inPlace.need(changed)
	for _, n := range applied {
		if after[n] {
			m.unlessMoved(n)
		}
	}
	back := rejoinStep(r, from, applied[len(applied)-1])
	streaming := r.of(kindStreaming, "")
	streaming.need(back)
	m.drawPoint(r, streaming, r.of(kindPromise, ""))
}

// staysFor says why the primary does not move for the parameters of the change, though
// they take a restart, empty if nothing in the change keeps it: a member that is about to
// leave must not take over, and a machine restarts for its size anyway.
func staysFor(ch *appliance.Change) string {
	switch {
	case ch == nil || len(ch.Restart) == 0:
		return ""
	case len(ch.Remove) > 0:
		return "the same change removes members"
	case ch.Size != nil:
		return "the same change gives machines another size"
	}
	return ""
}

// behindOf returns the step, and the steps that come after it.
func (g *graph) behindOf(first *node) map[*node]bool {
	out := map[*node]bool{first: true}
	for more := true; more; {
		more = false
		for _, n := range g.nodes {
			if !out[n] && slices.ContainsFunc(n.needs, func(b *node) bool { return out[b] }) {
				out[n], more = true, true
			}
		}
	}
	return out
}

// waitsForRestart gives the running primary its configuration, and tells whether a part
// of it waits for a restart. The primary can't move if a limit falls.
func (w work) waitsForRestart(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) (waits bool, stays string, err error) {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return false, "", err
	}
	if err := configure(ctx, f, m, mc, d.Limits); err != nil {
		return false, "", err
	}
	if waits, err = reload(ctx, f, m, mc); err != nil || !waits {
		return false, "", err
	}
	return true, fallingLimits(d.Limits, f.cluster.Spec.Parameters), nil
}

// fallingLimits says which of the primary's limits the parameters lower, empty if they
// lower none.
func fallingLimits(has postgres.Limits, parameters map[string]string) string {
	var names []string
	for name, value := range has.Raise(parameters) {
		if parameters[name] != value {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "a lower " + strings.Join(names, " and ") + " takes effect on the primary before the standbys"
}
