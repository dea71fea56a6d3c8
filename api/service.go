package api

import (
	"context"
	"io"
	"time"

	"pgapp/appliance"
)

// Service is the work on clusters behind the API. Its errors are
// [appliance.Problem]s.
type Service interface {
	// Info describes the daemon.
	Info(ctx context.Context) appliance.Info
	Clusters(ctx context.Context) ([]appliance.ClusterStatus, error)
	// Status returns a cluster's record and its state as observed now.
	Status(ctx context.Context, cluster string) (appliance.ClusterStatus, error)
	// Up creates the cluster, or brings it to the spec. If there is nothing to
	// do, it returns a final operation. A repeat is safe.
	Up(ctx context.Context, spec appliance.Spec, o appliance.UpOptions) (appliance.Operation, error)
	// Scale adds standbys or removes some.
	Scale(ctx context.Context, cluster string, w appliance.ScaleWish) (appliance.Operation, error)
	// Submit begins an operation of another kind.
	Submit(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error)
	// Verify proves that the cluster replicates. A report that is not OK is no error.
	Verify(ctx context.Context, cluster string) (appliance.VerifyReport, error)
	// Connection returns how to reach the database; role is rw, ro, any or admin.
	// Only with reveal it contains the password.
	Connection(ctx context.Context, cluster, role string, reveal bool) (appliance.Connection, error)
}

// Logs gives access to the logs of members.
type Logs interface {
	// Logs writes the log of one member, or of all members with a prefix on each
	// line if member is empty. With follow it returns when ctx ends.
	Logs(ctx context.Context, cluster, member string, follow bool, w io.Writer) error
}

// Operations gives access to the journal and to running operations.
type Operations interface {
	Operation(ctx context.Context, id string) (appliance.Operation, error)
	// Operations lists newest first; cluster may be empty for all.
	Operations(ctx context.Context, cluster string) ([]appliance.Operation, error)
	// Cancel asks a running operation to stop and returns its current state.
	Cancel(ctx context.Context, id string) (appliance.Operation, error)
	// Watch sends snapshots. A slow receiver misses all but the newest. The
	// channel closes when the operation is final or not running in this process,
	// or when ctx ends.
	Watch(ctx context.Context, id string) (<-chan appliance.Operation, error)
}

// Pauses keeps pgapp from acting by itself. Both methods may be repeated.
type Pauses interface {
	// Pause lasts for that time, or until Resume if it is 0.
	Pause(ctx context.Context, cluster string, lasts time.Duration) (appliance.Automation, error)
	Resume(ctx context.Context, cluster string) (appliance.Automation, error)
}

// The scopes of a token. Read allows GET, but no passwords; admin everything.
const (
	ScopeRead  = "read"
	ScopeAdmin = "admin"
)

// Token describes an API token, without its secret.
type Token struct {
	Name      string     `json:"name" yaml:"name"`
	Scope     string     `json:"scope" yaml:"scope"`
	CreatedAt time.Time  `json:"created_at" yaml:"created_at"`
	LastUsed  *time.Time `json:"last_used,omitempty" yaml:"last_used,omitempty"`
}

// Tokens knows the API's tokens by their SHA-256.
type Tokens interface {
	// TokenScope returns the scope of the token with that hash; ok is false if
	// there is no such token.
	TokenScope(ctx context.Context, hash [32]byte) (scope string, ok bool, err error)
}

// TokenAdmin manages tokens.
type TokenAdmin interface {
	// CreateToken keeps a token by its SHA-256. A name that is taken is a
	// problem conflict.
	CreateToken(ctx context.Context, name, scope string, hash [32]byte) (Token, error)
	ListTokens(ctx context.Context) ([]Token, error)
	// RevokeToken makes the token invalid at once. It returns not-found if there
	// is no token of that name.
	RevokeToken(ctx context.Context, name string) error
}

// Idempotency remembers the operation that a request with an Idempotency-Key
// began. It may forget keys after 24 hours.
type Idempotency interface {
	IdempotencyGet(ctx context.Context, key string) (bodyHash [32]byte, operationID string, ok bool, err error)
	IdempotencyPut(ctx context.Context, key string, bodyHash [32]byte, operationID string) error
}
