package routing

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// verifying bounds the look at a primary that is to be opened, and verifyingMachine that
// at one of a cluster with virtual machines: it connects twice, which takes an emulated
// machine a second.
const (
	verifying        = time.Second
	verifyingMachine = 3 * time.Second
)

// verifyAll looks at the primaries that rw may lead to and that were not verified.
func (r *Router) verifyAll(ctx context.Context, clusters []appliance.Cluster) {
	var wg sync.WaitGroup
	for _, c := range clusters {
		if _, ok := Of(c, Facts{}); !ok || !r.mayOpen(c) {
			continue
		}
		wg.Go(func() { r.verify(ctx, c) })
	}
	wg.Wait()
}

// mayOpen tells whether all that keeps rw closed is that its primary is not verified.
func (r *Router) mayOpen(c appliance.Cluster) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	sound := r.memory(c.UUID).facts(c).Verified
	return !sound && !Changing(c) && c.Phase != appliance.PhaseCreating && c.Phase != appliance.PhaseFailed &&
		!c.WantStopped && !c.PrimaryMember().WantStopped
}

// verify notes whether the recorded primary serves.
func (r *Router) verify(ctx context.Context, c appliance.Cluster) {
	if !r.cfg.Serves(ctx, c) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory(c.UUID).verify(c)
}

// asks looks whether the recorded primary takes writes and lets the application in. A
// primary that waits for its standbys after a crash does not yet.
func (r *Router) asks(ctx context.Context, c appliance.Cluster) bool {
	limit := verifying
	if !c.SharesMachine() {
		limit = verifyingMachine
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	secrets, err := r.cfg.Store.Secrets(ctx, c.Name)
	if err != nil {
		return false
	}
	m := c.PrimaryMember()
	p, err := postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, secrets.Get(appliance.SecretControl))
	if err != nil {
		return false
	}
	seen, err := p.Sight(ctx)
	_ = p.Close(context.WithoutCancel(ctx)) // nothing was written that could be lost
	if err != nil || seen.InRecovery || seen.SystemIdentifier != c.SystemIdentifier {
		return false
	}
	return postgres.Admits(ctx, m.Host, m.Port, c.Spec.Database)
}
