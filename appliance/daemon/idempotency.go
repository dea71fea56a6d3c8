package daemon

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/store"
)

// idempotency lets the API ask the store.
type idempotency struct{ st *store.Store }

// IdempotencyGet implements api.Idempotency.
func (i idempotency) IdempotencyGet(ctx context.Context, key string) ([32]byte, string, bool, error) {
	r, err := i.st.IdempotencyGet(ctx, key)
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		return [32]byte{}, "", false, nil
	}
	return r.BodyHash, r.OperationID, err == nil, err
}

// IdempotencyPut implements api.Idempotency.
func (i idempotency) IdempotencyPut(ctx context.Context, key string, bodyHash [32]byte, operationID string) error {
	return i.st.IdempotencyPut(ctx, key, store.Record{BodyHash: bodyHash, OperationID: operationID, CreatedAt: time.Now().UTC()})
}
