package endpoint

import (
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
)

// cancelTime bounds a cancel request at one member.
const cancelTime = 5 * time.Second

// passCancel sends a cancel request to each member of the endpoint and returns when all
// have handled it: the client takes the end of its connection for that. A server
// ignores a request whose secret key is not that of one of its sessions.
func (e *endpoint) passCancel(ctx context.Context, packet []byte) {
	e.s.mu.Lock()
	busy := map[appliance.RouteMember]bool{}
	for c := range e.conns {
		if c.phase == open {
			busy[c.member] = true
		}
	}
	targets := cancelTargets(e.role, e.route, slices.Collect(maps.Keys(busy)))
	e.s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, cancelTime)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range targets {
		all.Go(func() {
			conn, err := dial(ctx, m.Address)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			if _, err := conn.Write(packet); err == nil {
				_, _ = io.Copy(io.Discard, conn)
			}
		})
	}
	all.Wait()
}
