package daemon

import (
	"context"
	"log/slog"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/program"
	"pgapp/appliance/routing"
	"pgapp/store"
)

// endpointProcess is the home's endpoint process as the router uses it.
type endpointProcess struct{ endpoint.Client }

// Ensure starts the process with the routes where none of this build answers.
func (p endpointProcess) Ensure(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	what, err := endpointProgram(p.Home, routes)
	if err != nil {
		return appliance.RouteStatus{}, err
	}
	return endpoint.Ensure(ctx, what)
}

// routerOf makes the router of the home's endpoints.
func routerOf(dir string, st *store.Store, d *composition, log *slog.Logger) *routing.Router {
	return routing.New(routing.Config{
		Store: st, Process: endpointProcess{endpoint.Client{Home: dir}}, Build: program.BuildID(), Log: log,
		Allot: func(ctx context.Context) error { return control.AllotEndpoints(ctx, d.control) },
		Observing: func(ctx context.Context) (string, error) {
			o, err := control.GetObserveOnly(ctx, st)
			return o.Reason, err
		},
	})
}
