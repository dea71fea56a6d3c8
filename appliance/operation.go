package appliance

import (
	"context"
	"time"
)

// OperationKind is the kind of an operation.
type OperationKind string

// The kinds of operation.
const (
	OpUp      OperationKind = "up"      // create, or bring to the spec
	OpStart   OperationKind = "start"   // start the cluster or one member
	OpStop    OperationKind = "stop"    // stop the cluster or one member
	OpRestart OperationKind = "restart" // restart the cluster or one member
	OpDestroy OperationKind = "destroy" // remove every trace
	OpReinit  OperationKind = "reinit"  // clone one standby anew
	OpScale   OperationKind = "scale"   // add standbys, or remove them
	OpAdopt   OperationKind = "adopt"   // record what really runs
	// The changes of primary, and the return of a member after one.
	OpSwitchover OperationKind = "switchover" // move the primary without loss
	OpFailover   OperationKind = "failover"   // replace a dead primary
	OpRejoin     OperationKind = "rejoin"     // bring members back as standbys
)

// OperationState is the state of an operation.
type OperationState string

// The states. All but running are final.
const (
	OpRunning    OperationState = "running"
	OpSucceeded  OperationState = "succeeded"
	OpFailed     OperationState = "failed"
	OpCancelled  OperationState = "cancelled"
	OpSuperseded OperationState = "superseded"
	// OpPlanned is the state of a dry run's operation, which is never stored.
	OpPlanned OperationState = "planned"
)

// Final tells whether an operation in this state has ended.
func (s OperationState) Final() bool { return s != OpRunning }

// StepState is the state of a step.
type StepState string

// The states of a step. A step is skipped if one that it needs has failed.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepSkipped StepState = "skipped"
)

// Operation is the journal of one change to a cluster.
type Operation struct {
	ID      string          `json:"id"`
	Cluster string          `json:"cluster"`
	Kind    OperationKind   `json:"kind"`
	State   OperationState  `json:"state"`
	Params  OperationParams `json:"params"`
	// Decision is nil until it is made. Clients don't get it.
	Decision *Decision    `json:"decision,omitempty" hidden:"true"`
	Steps    []StepRecord `json:"steps"`
	Error    *Problem     `json:"error,omitempty"`
	// Discarded is what the members that were brought back have lost.
	Discarded []Discarded `json:"discarded,omitempty"`
	// Note is one line for the user about an automatic choice.
	Note string `json:"note,omitempty"`
	// SupersededBy is the id of the operation that ended this one, if one did.
	SupersededBy string `json:"superseded_by,omitempty"`
	// Build identifies the binary that made the plan; another build plans anew.
	Build     string     `json:"build"`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// Revision grows with every change, saved or not: the SSE event id.
	Revision uint64 `json:"revision"`
}

// OperationParams are an operation's arguments.
type OperationParams struct {
	// Member is set if the operation is for one member.
	Member string `json:"member,omitempty"`
	// To is the only member that a change of primary may promote, if set.
	To string `json:"to,omitempty"`
	// AllowDataLoss lets a failover promote a member that may lack acknowledged
	// commits.
	AllowDataLoss bool `json:"allow_data_loss,omitempty"`
	// Force lets an operation end the promise of quorum durability.
	Force bool `json:"force,omitempty"`
	// InPlace restarts the primary without moving it.
	InPlace bool `json:"in_place,omitempty"`
	// KeepStopped leaves members stopped that the user has stopped.
	KeepStopped bool `json:"keep_stopped,omitempty"`
	// Fence has a start first end whatever runs of a primary that answers nobody.
	Fence bool `json:"fence,omitempty"`
	// WantRunning has an up first record that all members shall run, and that
	// a creation that failed goes on.
	WantRunning bool `json:"want_running,omitempty"`
	// Mark is the way back to record of the member when the operation begins, if the
	// record has none yet.
	Mark WayBack `json:"mark,omitempty"`
	// Reason is what made pgapp begin the operation by itself; empty for a user's.
	Reason string `json:"reason,omitempty"`
	// Change is set if the spec or the members change.
	Change *Change `json:"change,omitempty"`
	// Adopt is what an adoption records. Clients get it as an [Adoption].
	Adopt *AdoptDecision `json:"adopt,omitempty" hidden:"true"`
}

// StepRecord is the journal of one step.
type StepRecord struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Member string `json:"member,omitempty"`
	// Kind is not journaled: the plan says it again.
	Kind      StepKind   `json:"-"`
	State     StepState  `json:"state"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// Seconds that the step took, set when it ended.
	Seconds float64 `json:"seconds,omitempty"`
	// AlreadyDone is set where the world was as wanted before the step ran.
	AlreadyDone bool     `json:"already_done,omitempty"`
	Progress    Progress `json:"progress,omitzero"`
	Error       *Problem `json:"error,omitempty"`
}

// Progress is the progress of a running step. Unknown numbers of bytes are 0.
type Progress struct {
	Detail     string `json:"detail,omitempty"`
	BytesDone  int64  `json:"bytes_done,omitempty"`
	BytesTotal int64  `json:"bytes_total,omitempty"`
	// Discarded goes to the operation's Discarded. It is not kept here.
	Discarded *Discarded `json:"-"`
	// Note goes to the operation's Note. It is not kept here.
	Note string `json:"-"`
}

// Report publishes the progress of a step. It never blocks and is safe for
// concurrent use.
type Report func(Progress)

// Step is one idempotent part of a plan.
type Step struct {
	// ID is unique in the plan, such as "clone/node1". A resumed operation has
	// the same ids.
	ID    string
	Title string
	// Member is set if the step concerns one member.
	Member string
	Kind   StepKind
	// After names the steps that have to succeed first. Independent steps run in
	// parallel.
	After []string
	// Done observes the world, never the journal, and is cheap. It changes
	// nothing, the record included. Nil means that it can't be observed and Do
	// has to run.
	Done func(ctx context.Context) (bool, error)
	// Do makes Done true. It is safe to repeat after a kill at any point.
	Do func(ctx context.Context, report Report) error
	// FinishesCancel is set if Do ends by itself after a user has cancelled the
	// operation, having undone what must not stay. Its context then goes on, and
	// [Cancelled] tells it of the cancel. Do returns a problem cancelled, or nil if
	// it was past the point where it could go back.
	FinishesCancel bool
}

// cancelKey is the key of a context's channel of the cancel.
type cancelKey struct{}

// WithCancelled returns a context of which [Cancelled] tells that asked was closed.
func WithCancelled(ctx context.Context, asked <-chan struct{}) context.Context {
	return context.WithValue(ctx, cancelKey{}, asked)
}

// Cancelled tells whether a user has cancelled the operation of a step that finishes
// cancels itself. The context of every other step ends instead.
func Cancelled(ctx context.Context) bool {
	asked, _ := ctx.Value(cancelKey{}).(<-chan struct{})
	select {
	case <-asked: // never, where there is no channel
		return true
	default:
		return false
	}
}
