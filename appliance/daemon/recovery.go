package daemon

import (
	"context"
	"io"

	"pgapp/appliance"
)

// recovery is the service and the journal of a daemon without a store: it answers
// info only. The API refuses all other requests before they come here; the methods
// refuse them for the same reason.
type recovery struct {
	info   appliance.Info
	reason *appliance.Problem
}

// Info describes the daemon.
func (r recovery) Info(context.Context) appliance.Info { return r.info }

// Clusters can't be known.
func (r recovery) Clusters(context.Context) ([]appliance.ClusterStatus, error) { return nil, r.reason }

// Status can't be known.
func (r recovery) Status(context.Context, string) (appliance.ClusterStatus, error) {
	return appliance.ClusterStatus{}, r.reason
}

// Up is refused.
func (r recovery) Up(context.Context, appliance.Spec, appliance.UpOptions) (appliance.Operation, error) {
	return appliance.Operation{}, r.reason
}

// Scale is refused.
func (r recovery) Scale(context.Context, string, appliance.ScaleWish) (appliance.Operation, error) {
	return appliance.Operation{}, r.reason
}

// Submit is refused.
func (r recovery) Submit(context.Context, string, appliance.OperationKind, appliance.OperationParams) (appliance.Operation, error) {
	return appliance.Operation{}, r.reason
}

// Verify can't be done.
func (r recovery) Verify(context.Context, string) (appliance.VerifyReport, error) {
	return appliance.VerifyReport{}, r.reason
}

// Connection can't be known.
func (r recovery) Connection(context.Context, string, string, bool) (appliance.Connection, error) {
	return appliance.Connection{}, r.reason
}

// Logs of members can't be found.
func (r recovery) Logs(context.Context, string, string, bool, io.Writer) error { return r.reason }

// Operation can't be known.
func (r recovery) Operation(context.Context, string) (appliance.Operation, error) {
	return appliance.Operation{}, r.reason
}

// Operations can't be known.
func (r recovery) Operations(context.Context, string) ([]appliance.Operation, error) {
	return nil, r.reason
}

// Cancel is refused.
func (r recovery) Cancel(context.Context, string) (appliance.Operation, error) {
	return appliance.Operation{}, r.reason
}

// Watch can't be done.
func (r recovery) Watch(context.Context, string) (<-chan appliance.Operation, error) {
	return nil, r.reason
}
