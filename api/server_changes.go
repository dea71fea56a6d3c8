package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

func problemDetailsType() reflect.Type { return reflect.TypeFor[ProblemDetails]() }

// registerChanges adds the routes that begin operations.
func (s *Server) registerChanges(api *routes) {
	s.registerUp(api)
	s.registerSQL(api)
	s.registerScale(api)
	s.clusterChange(api, http.MethodDelete, "", "delete-cluster", appliance.OpDestroy, "Remove the cluster, its members and all their data")
	s.clusterChange(api, http.MethodPost, "/stop", "stop-cluster", appliance.OpStop, "Stop the cluster and keep its data")
	s.clusterChange(api, http.MethodPost, "/start", "start-cluster", appliance.OpStart, "Start the cluster")
	s.registerRestart(api)
	s.forcedChange(api, "reinit", appliance.OpReinit, "Clone the standby anew")
	s.memberChange(api, "restart", appliance.OpRestart, "Restart the member")
	s.forcedChange(api, "stop", appliance.OpStop, "Stop the member")
	s.memberChange(api, "start", appliance.OpStart, "Start the member")
	s.registerPrimary(api)
	s.registerPauses(api)
}

func (s *Server) submit(ctx context.Context, key, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (*operationOutput, error) {
	route := string(kind) + " " + cluster + "/" + p.Member + changeOf(p)
	o, err := s.onceOnly(ctx, key, route, func(ctx context.Context) (appliance.Operation, error) {
		return s.cfg.Service.Submit(ctx, cluster, kind, p)
	})
	if err != nil {
		return nil, err
	}
	return accepted(ctx, o), nil
}

func (s *Server) clusterChange(api *routes, method, suffix, id string, kind appliance.OperationKind, summary string) {
	type input struct {
		ClusterPath
		IdempotencyHeader
	}
	route(api, huma.Operation{
		OperationID: id, Method: method, Path: base + "/clusters/{cluster}" + suffix, Summary: summary, DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *input) (*operationOutput, error) {
		return s.submit(ctx, in.Key, in.Cluster, kind, appliance.OperationParams{})
	})
}

func (s *Server) memberChange(api *routes, verb string, kind appliance.OperationKind, summary string) {
	type input struct {
		MemberPath
		IdempotencyHeader
	}
	route(api, huma.Operation{
		OperationID: verb + "-member", Method: http.MethodPost, Path: base + "/clusters/{cluster}/members/{member}/" + verb,
		Summary: summary, DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *input) (*operationOutput, error) {
		return s.submit(ctx, in.Key, in.Cluster, kind, appliance.OperationParams{Member: in.Member})
	})
}

// forcedChange is memberChange for an operation that may end the promise of durability
// quorum.
func (s *Server) forcedChange(api *routes, verb string, kind appliance.OperationKind, summary string) {
	type input struct {
		MemberPath
		IdempotencyHeader
		Force bool `query:"force" doc:"also take the last standby that keeps the promise of durability quorum, which ends the promise"`
	}
	route(api, huma.Operation{
		OperationID: verb + "-member", Method: http.MethodPost, Path: base + "/clusters/{cluster}/members/{member}/" + verb,
		Summary: summary, DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *input) (*operationOutput, error) {
		return s.submit(ctx, in.Key, in.Cluster, kind, appliance.OperationParams{Member: in.Member, Force: in.Force})
	})
}

// RestartRequest is the body of a restart.
type RestartRequest struct {
	InPlace bool `json:"in_place,omitempty" doc:"restart the primary where it is, instead of moving it to a standby that has been restarted"`
}

func (s *Server) registerRestart(api *routes) {
	type input struct {
		ClusterPath
		IdempotencyHeader
		Body *RestartRequest
	}
	route(api, huma.Operation{
		OperationID: "restart-cluster", Method: http.MethodPost, Path: base + "/clusters/{cluster}/restart",
		Summary: "Restart the members one after the other, and move the primary meanwhile", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *input) (*operationOutput, error) {
		return s.submit(ctx, in.Key, in.Cluster, appliance.OpRestart, appliance.OperationParams{InPlace: in.Body != nil && in.Body.InPlace})
	})
}
