package api

import (
	"context"
	"time"

	"pgapp/appliance/wait"
)

// observations are shared by those who ask for the same at the same time.
type observations[T any] = wait.Group[struct{}, T]

// lookPatience bounds an observation that is made for several.
const lookPatience = 30 * time.Second

// look returns what observe finds, for all who ask for the key at that time:
// it must not be changed. The observation doesn't end with the request of
// whoever makes it.
func look[T any](ctx context.Context, o *observations[T], key string, patience time.Duration, observe func(context.Context) (T, error)) (T, error) {
	return o.Do(ctx, key, struct{}{}, func(ctx context.Context, _ []struct{}) (T, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return observe(ctx)
	})
}
