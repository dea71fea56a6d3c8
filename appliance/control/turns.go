package control

import (
	"context"
	"fmt"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// allAddresses is the turn in which addresses are given to a cluster: no
// cluster has an empty name.
const allAddresses = ""

// admission gives each cluster to one caller at a time. A turn covers store
// transactions, and the end of an operation that gives way; never a look at a
// host or a network. Work that may take minutes leaves a mark instead, which
// locks nobody out: who meets the mark is refused or waits.
type admission struct {
	turns wait.Turns

	mu sync.Mutex
	// alone is the work that no operation may begin beside, nil where there is none.
	alone *mark
}

// mark is left by work that runs alone.
type mark struct {
	act Act
	// lifted is closed when the work has ended.
	lifted chan struct{}
}

// enter waits for the cluster's turn. The error is that of a context that ended
// first.
func (a *admission) enter(ctx context.Context, cluster string) (leave func(), err error) {
	leave, err = a.turns.Enter(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("waiting until another change of cluster %q has begun: %w", cluster, err)
	}
	return leave, nil
}

// leaveMark leaves the act's mark, which lift takes away. Beside another mark the
// act is refused. Turns that were taken before are over when it returns.
func (a *admission) leaveMark(ctx context.Context, act Act) (lift func(), err error) {
	m := &mark{act, make(chan struct{})}
	a.mu.Lock()
	other := a.alone
	if other == nil {
		a.alone = m
	}
	a.mu.Unlock()
	if other != nil {
		return nil, underWay(other.act)
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

// marked returns the mark, nil where there is none.
func (a *admission) marked() *mark {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.alone
}

// pass refuses the act, or waits, while work runs alone beside which the act may
// not begin.
func (a *admission) pass(ctx context.Context, act Act) error {
	for {
		m := a.marked()
		if m == nil {
			return nil
		}
		if rulings()[act][m.act] != waits {
			return underWay(m.act)
		}
		select {
		case <-m.lifted:
		case <-ctx.Done():
			return fmt.Errorf("waiting while %s: %w", m.act.doing(), context.Cause(ctx))
		}
	}
}

// underWay is the answer to a request that is refused because of a mark.
func underWay(act Act) error {
	return appliance.NewProblem(appliance.ErrConflict, "%s, and nothing else can begin before that has ended", act.doing()).
		WithHint("try again in a moment")
}
