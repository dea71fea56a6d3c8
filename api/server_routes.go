package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// base is the prefix of the API's paths.
const base = "/api/v1"

// ClusterPath is the part of a path that names a cluster. It is exported, as its
// siblings are, because huma ignores embedded structs that are not.
type ClusterPath struct {
	Cluster string `path:"cluster" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9 and -, starting with a letter, not ending in -" doc:"cluster name" example:"main"`
}

// MemberPath names a cluster's member.
type MemberPath struct {
	ClusterPath
	Member string `path:"member" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9 and -, starting with a letter, not ending in -" doc:"member name" example:"node1"`
}

// IdempotencyHeader makes a change safe to repeat.
type IdempotencyHeader struct {
	Key string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" doc:"a repeat with the same key and body gets the same operation; another body is refused"`
}

type bodyOutput[T any] struct{ Body T }

// operationOutput is a response with an operation. Location and Retry-After say
// where and when to look next.
type operationOutput struct {
	Status     int
	Location   string `header:"Location" doc:"where the operation is"`
	RetryAfter string `header:"Retry-After" doc:"seconds until asking again makes sense"`
	Body       appliance.Operation
}

func accepted(ctx context.Context, o appliance.Operation) *operationOutput {
	noteOperation(ctx, o.ID)
	out := &operationOutput{Status: http.StatusAccepted, Body: withSteps(o)}
	if o.ID == "" {
		out.Status = http.StatusOK // nothing to do, so there is no operation to look up
		return out
	}
	out.Location = base + "/operations/" + o.ID
	if !o.State.Final() {
		out.RetryAfter = "1"
	}
	return out
}

// withSteps replaces nil by an empty list of steps, for clients that iterate, and
// leaves out what only the journal needs.
func withSteps(o appliance.Operation) appliance.Operation {
	o.Decision = nil
	if o.Steps == nil {
		o.Steps = []appliance.StepRecord{}
	}
	return o
}

// list replaces nil by an empty list.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// problems documents that every failure is a problem.
func problems(api huma.API, op *huma.Operation) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "a problem (RFC 9457)",
		Content:     map[string]*huma.MediaType{problemType: {Schema: api.OpenAPI().Components.Schemas.Schema(problemDetailsType(), true, "")}},
	}
}

func (s *Server) register(api *routes) {
	s.registerDaemon(api)
	s.registerClusters(api)
	s.registerChanges(api)
	s.registerOperations(api)
	s.registerStreams(api)
	s.registerTokens(api)
	s.registerState(api)
	s.registerMachines(api)
	s.registerBenches(api)
	s.registerHealth(api)
	tidySchemas(api.OpenAPI())
}

// status returns a cluster's status, observed after the call.
func (s *Server) status(ctx context.Context, cluster string) (appliance.ClusterStatus, error) {
	return look(ctx, &s.statuses, cluster, lookPatience, func(ctx context.Context) (appliance.ClusterStatus, error) {
		return s.cfg.Service.Status(ctx, cluster)
	})
}

func (s *Server) registerClusters(api *routes) {
	type none struct{}
	route(api, huma.Operation{
		OperationID: "list-clusters", Method: http.MethodGet, Path: base + "/clusters", Summary: "List all clusters",
	}, attributes{access: readers}, func(ctx context.Context, _ *none) (*bodyOutput[[]appliance.ClusterStatus], error) {
		l, err := look(ctx, &s.clusters, "", lookPatience, s.cfg.Service.Clusters)
		return &bodyOutput[[]appliance.ClusterStatus]{list(l)}, err
	})
	route(api, huma.Operation{
		OperationID: "get-cluster", Method: http.MethodGet, Path: base + "/clusters/{cluster}", Summary: "A cluster's record and what is observed of it now",
	}, attributes{access: readers}, func(ctx context.Context, in *ClusterPath) (*clusterOutput, error) {
		st, err := s.status(ctx, in.Cluster)
		st.Members = list(st.Members)
		return &clusterOutput{ETag: etag(st.Revision), Body: st}, err
	})
	route(api, huma.Operation{
		OperationID: "list-members", Method: http.MethodGet, Path: base + "/clusters/{cluster}/members", Summary: "A cluster's members as observed now",
	}, attributes{access: readers}, func(ctx context.Context, in *ClusterPath) (*bodyOutput[[]appliance.MemberStatus], error) {
		st, err := s.status(ctx, in.Cluster)
		return &bodyOutput[[]appliance.MemberStatus]{list(st.Members)}, err
	})
	route(api, huma.Operation{
		OperationID: "verify-cluster", Method: http.MethodPost, Path: base + "/clusters/{cluster}/verify",
		Summary: "Prove that the cluster replicates; a report that is not ok is still a 200", DefaultStatus: http.StatusOK,
	}, attributes{access: admins}, func(ctx context.Context, in *ClusterPath) (*bodyOutput[appliance.VerifyReport], error) {
		r, err := s.cfg.Service.Verify(ctx, in.Cluster)
		r.Replication, r.Checks = list(r.Replication), list(r.Checks)
		return &bodyOutput[appliance.VerifyReport]{r}, err
	})
	type connectionInput struct {
		ClusterPath
		Role   string `query:"role" enum:"rw,ro,any,admin" default:"rw" doc:"rw: the primary; ro: standbys; any: whichever answers; admin: the superuser over a member's unix socket"`
		Reveal bool   `query:"show_password" doc:"put the password into the answer (scope admin)"`
	}
	route(api, huma.Operation{
		OperationID: "get-connection", Method: http.MethodGet, Path: base + "/clusters/{cluster}/connection", Summary: "How to reach the cluster's database",
	}, attributes{access: readers, adminFor: "show_password"}, func(ctx context.Context, in *connectionInput) (*bodyOutput[appliance.Connection], error) {
		c, err := s.cfg.Service.Connection(ctx, in.Cluster, in.Role, in.Reveal)
		c.Hosts = list(c.Hosts)
		return &bodyOutput[appliance.Connection]{c}, err
	})
}

func (s *Server) registerOperations(api *routes) {
	type listInput struct {
		Cluster string `query:"cluster" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9 and -, starting with a letter, not ending in -" doc:"only this cluster's"`
	}
	route(api, huma.Operation{
		OperationID: "list-operations", Method: http.MethodGet, Path: base + "/operations", Summary: "List operations, newest first",
	}, attributes{access: readers}, func(ctx context.Context, in *listInput) (*bodyOutput[[]appliance.Operation], error) {
		l, err := s.cfg.Operations.Operations(ctx, in.Cluster)
		for i := range l {
			l[i] = withSteps(l[i])
		}
		return &bodyOutput[[]appliance.Operation]{list(l)}, err
	})
	route(api, huma.Operation{
		OperationID: "get-operation", Method: http.MethodGet, Path: base + "/operations/{id}", Summary: "An operation with its steps",
	}, attributes{access: readers}, func(ctx context.Context, in *OperationPath) (*bodyOutput[appliance.Operation], error) {
		o, err := s.cfg.Operations.Operation(ctx, in.ID)
		return &bodyOutput[appliance.Operation]{withSteps(o)}, err
	})
	route(api, huma.Operation{
		OperationID: "cancel-operation", Method: http.MethodDelete, Path: base + "/operations/{id}",
		Summary: "Ask a running operation to stop", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *OperationPath) (*operationOutput, error) {
		o, err := s.cfg.Operations.Cancel(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return accepted(ctx, o), nil
	})
}

// OperationPath names an operation.
type OperationPath struct {
	ID string `path:"id" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9_-]*$" patternDescription:"an operation's id" doc:"operation id"`
}
