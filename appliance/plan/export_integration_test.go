//go:build integration

package plan

import (
	"context"

	"pgapp/appliance"
)

// StartResized starts the member as the operation does when its machine has its new size,
// which the local provider's have not.
func StartResized(ctx context.Context, p *Planner, o appliance.Operation, member string) error {
	c, err := p.cfg.Store.Cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	w := work{dataDirs{world: world{
		Planner: p, op: o, decision: *o.Decision, provider: p.cfg.Providers[c.Spec.Provider],
		cloning: make(chan struct{}, 1), settling: make(chan struct{}, 1), keepers: make(chan struct{}, 1),
		leaders: make(chan struct{}, 1),
	}}}
	return w.startResized(ctx, member, quiet)
}
