package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"pgapp/appliance"
)

// onceOnly runs begin. If the Idempotency-Key was used before, it returns the
// operation of that time instead.
func (s *Server) onceOnly(ctx context.Context, key, route string, begin func(context.Context) (appliance.Operation, error)) (appliance.Operation, error) {
	if key == "" {
		return begin(ctx)
	}
	if s.cfg.Idempotency == nil {
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrUsage, "Idempotency-Key is not supported here")
	}
	leave, err := s.once.Enter(ctx, key)
	if err != nil {
		return appliance.Operation{}, fmt.Errorf("waiting for a request with the same Idempotency-Key: %w", err)
	}
	defer leave()
	hash := requestHash(route, bodyOf(ctx))
	was, id, ok, err := s.cfg.Idempotency.IdempotencyGet(ctx, key)
	switch {
	case err != nil:
		return appliance.Operation{}, fmt.Errorf("looking up the Idempotency-Key: %w", err)
	case ok && was != hash:
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrIdempotencyReuse, "this Idempotency-Key was used for another request").
			WithHint("use a new key for each request").WithOperation(id)
	case ok:
		return s.cfg.Operations.Operation(ctx, id)
	}
	// Stored with the operation: a daemon that is killed before it answers knows the key.
	o, err := begin(appliance.WithRequest(ctx, appliance.Request{Key: key, Hash: hash}))
	if err != nil || o.ID == "" {
		return o, err // no operation has begun, so a repeat is harmless
	}
	// The operation runs: the key is kept even if the client has disconnected.
	if err := s.cfg.Idempotency.IdempotencyPut(context.WithoutCancel(ctx), key, hash, o.ID); err != nil {
		// The operation can't be taken back, so the response has to name it.
		s.log.Error("an Idempotency-Key was not kept", "operation", o.ID, "error", err)
	}
	return o, nil
}

// requestHash hashes the route and the body.
func requestHash(route string, body []byte) [32]byte {
	h := sha256.New()
	_, _ = io.WriteString(h, route+"\x00") // a hash never fails
	_, _ = h.Write(body)
	return [32]byte(h.Sum(nil))
}
