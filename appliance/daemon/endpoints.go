package daemon

import (
	"context"
	"log/slog"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/endpoint/kernel"
	"pgapp/appliance/program"
	"pgapp/appliance/routing"
	"pgapp/store"
)

// endpointProcess is the home's endpoint process as the router uses it.
type endpointProcess struct{ endpoint.Contact }

// Ensure starts the process with the routes where none of this build answers.
func (p *endpointProcess) Ensure(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	what, err := endpointProgram(p.Home, routes)
	if err != nil {
		return appliance.RouteStatus{}, err
	}
	return p.Contact.Ensure(ctx, what)
}

// endpointPorts are the clusters' ports on record.
type endpointPorts struct{ d *composition }

// Allot gives ports to the clusters that lack them.
func (p endpointPorts) Allot(ctx context.Context) error {
	return control.AllotEndpoints(ctx, p.d.control)
}

// Hold notes that the endpoints listen at the cluster's ports.
func (p endpointPorts) Hold(ctx context.Context, cluster string, at appliance.Endpoints) error {
	return control.HoldEndpoints(ctx, p.d.control, cluster, at)
}

// Move chooses other ports for the cluster.
func (p endpointPorts) Move(ctx context.Context, cluster string, from appliance.Endpoints) error {
	return control.MoveEndpoints(ctx, p.d.control, cluster, from)
}

// routerOf makes the router of the home's endpoints.
func routerOf(dir string, st *store.Store, d *composition, log *slog.Logger) *routing.Router {
	return routing.New(routing.Config{
		Store: st, Process: routing.Over(&endpointProcess{endpoint.Contact{Client: endpoint.Client{Home: dir}}}, kernel.Path{Home: dir}), Build: program.BuildID(), Log: log,
		Ports: endpointPorts{d},
		Observing: func(ctx context.Context) (string, error) {
			o, err := control.GetObserveOnly(ctx, st)
			return o.Reason, err
		},
	})
}
