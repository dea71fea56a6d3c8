package wait

import (
	"context"
	"time"
)

// Until calls done at once and then again and again, with a pause of every
// between the beginnings of two calls, until done returns true or an error. It
// returns that error, or the cause of ctx's end. A call that is under way when
// ctx ends is waited for, so done has to end with its context.
func Until(ctx context.Context, every time.Duration, done func(ctx context.Context) (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		ok, err := done(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
