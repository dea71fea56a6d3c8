package web

import (
	"sync"

	"github.com/google/uuid"

	"pgapp/appliance/rental"
)

// receipt is what a request has come to, and who answered it.
type receipt struct {
	Kind string
	rental.Receipt
	customer int32
	answered answered
}

// maxReceipts bounds the receipts that are kept.
const maxReceipts = 1024

// receipts are the last requests' receipts, for the page that follows a form. All methods
// are safe for concurrent use.
type receipts struct {
	mu    sync.Mutex
	kept  map[uuid.UUID]receipt
	order []uuid.UUID
}

// put keeps a receipt, and drops the oldest where there are too many.
func (l *receipts) put(id uuid.UUID, r receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		l.kept = map[uuid.UUID]receipt{}
	}
	if _, known := l.kept[id]; !known {
		l.order = append(l.order, id)
	}
	l.kept[id] = r
	if len(l.order) > maxReceipts {
		delete(l.kept, l.order[0])
		l.order = l.order[1:]
	}
}

func (l *receipts) get(id uuid.UUID) (receipt, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.kept[id]
	return r, ok
}
