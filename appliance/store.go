package appliance

import "context"

// Records keeps clusters and their secrets. Each method is one transaction: it is
// on disk when the method returns nil, and has changed nothing after an error. A
// missing record is a [Problem] with id not-found.
type Records interface {
	Clusters(ctx context.Context) ([]Cluster, error)
	Cluster(ctx context.Context, name string) (Cluster, error)
	// UpdateCluster applies change to the stored record. The record's revision grows by
	// one if something else changed than what [Cluster.Revision] leaves out. An error
	// of change is returned unchanged.
	UpdateCluster(ctx context.Context, name string, change func(*Cluster) error) (Cluster, error)
	Secrets(ctx context.Context, cluster string) (Secrets, error)
	// UpdateSecrets applies change to the cluster's stored secrets.
	UpdateSecrets(ctx context.Context, cluster string, change func(*Secrets) error) error
}

// Journal keeps operations. Each method is one transaction, as those of [Records].
type Journal interface {
	// Begin stores a new running operation and takes the cluster's running key, with
	// all that the beginning says. If another operation is running that is not to be
	// superseded, Begin returns a [Problem] with id operation-running.
	Begin(ctx context.Context, b Beginning) error
	// SaveOperation stores the operation; a final state releases the running
	// key. With removeCluster the cluster's record and secrets go too.
	SaveOperation(ctx context.Context, op Operation, removeCluster bool) error
	Operation(ctx context.Context, id string) (Operation, error)
	// Operations lists newest first; cluster may be empty for all.
	Operations(ctx context.Context, cluster string) ([]Operation, error)
	// Running returns the running operation of the cluster, or not-found.
	Running(ctx context.Context, cluster string) (Operation, error)
}

// Beginning is what one transaction stores when an operation begins.
type Beginning struct {
	// Operation is the new running operation.
	Operation Operation
	// Create, if set, is stored too. The cluster must not exist.
	Create *NewCluster
	// Supersede is the id of the running operation that ends as superseded, or empty.
	Supersede string
	// Record, if set, changes the stored record. Nothing is stored after an error of
	// Record, which is returned unchanged. Record must not call the store.
	Record func(*Cluster) error
	// Request, if set, is remembered with the operation, so that the same request finds it
	// when it comes again. The first operation of a request stays.
	Request *Request
}

// Request is a client's request that may come again, as after a daemon that was killed
// before it had answered.
type Request struct {
	Key  string
	Hash [32]byte
}

type requestKey struct{}

// WithRequest returns a context of the request.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestOf returns the request that the context is of, nil if it is of none.
func RequestOf(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(Request); ok {
		return &r
	}
	return nil
}

// NewCluster is a cluster's first record.
type NewCluster struct {
	Cluster Cluster
	Secrets Secrets
}
