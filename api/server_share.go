package api

import (
	"context"
	"time"

	"pgapp/appliance/wait"
)

// observations are shared by requests that ask for the same at the same time.
type observations[T any] = wait.Group[struct{}, T]

// lookPatience bounds a shared observation.
const lookPatience = 30 * time.Second

// look calls observe for all callers of the key together. The result is shared
// and must not be changed. The end of a single request doesn't end observe.
func look[T any](ctx context.Context, o *observations[T], key string, patience time.Duration, observe func(context.Context) (T, error)) (T, error) {
	return o.Do(ctx, key, struct{}{}, func(ctx context.Context, _ []struct{}) (T, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return observe(ctx)
	})
}
