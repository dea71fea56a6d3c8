package libvirt

import (
	"context"
	"time"
)

const pollEvery = 100 * time.Millisecond

// poll asks ten times a second until it is done or fails, or ctx ends.
func poll(ctx context.Context, done func(ctx context.Context) (bool, error)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		ok, err := done(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
