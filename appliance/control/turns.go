package control

import (
	"context"
	"fmt"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// allAddresses names the turn for choosing addresses. No cluster has an empty name.
const allAddresses = ""

// admission gives each cluster to one caller at a time. A turn covers store
// transactions and the end of a superseded operation, never a look at a host or a
// network. Work that may take minutes leaves a mark instead of holding a lock: a
// request that finds the mark is refused or waits, as the table says.
type admission struct {
	turns wait.Turns

	mu sync.Mutex
	// alone is the mark of the work that runs alone, nil if there is none.
	alone *mark
}

// mark is left by work that runs alone.
type mark struct {
	act Act
	// lifted is closed when the work has ended.
	lifted chan struct{}
}

// enter waits for the cluster's turn. It returns an error if ctx ends first.
func (a *admission) enter(ctx context.Context, cluster string) (leave func(), err error) {
	leave, err = a.turns.Enter(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("waiting until another change of cluster %q has begun: %w", cluster, err)
	}
	return leave, nil
}

// leaveMark leaves the act's mark, which lift removes, and then waits until all
// present turns have ended. It refuses the act if there is a mark already.
func (a *admission) leaveMark(ctx context.Context, act Act) (lift func(), err error) {
	m := &mark{act, make(chan struct{})}
	a.mu.Lock()
	other := a.alone
	if other == nil {
		a.alone = m
	}
	a.mu.Unlock()
	if other != nil {
		return nil, underWayProblem(other.act)
	}
	lift = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.alone = nil
		close(m.lifted)
	}
	if err := a.turns.Settle(ctx); err != nil {
		lift()
		return nil, fmt.Errorf("waiting until changes of clusters have begun: %w", err)
	}
	return lift, nil
}

// marked returns the mark, nil if there is none.
func (a *admission) marked() *mark {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alone
}

// pass returns nil once no mark is left. While there is one, pass waits or refuses
// the act, as the table says.
func (a *admission) pass(ctx context.Context, act Act) error {
	for {
		m := a.marked()
		if m == nil {
			return nil
		}
		if rulings()[act][m.act] != waits {
			return underWayProblem(m.act)
		}
		select {
		case <-m.lifted:
		case <-ctx.Done():
			return fmt.Errorf("waiting while %s: %w", m.act.doing(), context.Cause(ctx))
		}
	}
}

// underWayProblem names the work that a request is refused for.
func underWayProblem(act Act) error {
	return appliance.NewProblem(appliance.ErrConflict, "%s; other changes have to wait for the end", act.doing()).
		WithHint("try again in a moment")
}
