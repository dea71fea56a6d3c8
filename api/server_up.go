package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// clusterOutput is a cluster with its revision, for If-Match.
type clusterOutput struct {
	ETag string `header:"ETag" doc:"the revision of the cluster's record, for If-Match"`
	Body appliance.ClusterStatus
}

func etag(revision uint64) string { return strconv.Quote(strconv.FormatUint(revision, 10)) }

// DryRunQuery asks for the plan without executing it.
type DryRunQuery struct {
	DryRun bool `query:"dry_run" doc:"answer 200 with an operation in state planned, whose steps are what would be done, and do nothing"`
}

// registerUp adds the routes that take a spec.
func (s *Server) registerUp(api *routes) {
	type createInput struct {
		IdempotencyHeader
		DryRunQuery
		Body appliance.Spec
	}
	route(api, huma.Operation{
		OperationID: "create-cluster", Method: http.MethodPost, Path: base + "/clusters",
		Summary: "Create a cluster, or bring it to the spec", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *createInput) (*operationOutput, error) {
		return s.up(ctx, in.Key, "POST "+base+"/clusters", in.Body, appliance.UpOptions{DryRun: in.DryRun})
	})
	type putInput struct {
		ClusterPath
		IdempotencyHeader
		DryRunQuery
		IfMatch string `header:"If-Match" maxLength:"255" doc:"the ETag of the cluster that the change is meant for, or *; needed where the cluster exists, but for a dry run"`
		Body    appliance.Spec
	}
	route(api, huma.Operation{
		OperationID: "put-cluster", Method: http.MethodPut, Path: base + "/clusters/{cluster}",
		Summary:     "Create the cluster, or bring it to the spec",
		Description: "What is left out of the spec stays as it is. The number of standbys and the parameters may change.", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *putInput) (*operationOutput, error) {
		if in.Body.Name == "" {
			in.Body.Name = in.Cluster
		}
		if in.Body.Name != in.Cluster {
			p := appliance.NewProblem(appliance.ErrInvalidSpec, "the spec's name is not the cluster in the path")
			p.Fields = []appliance.FieldError{{Field: "name", Message: "has to be " + in.Cluster + ", or left out"}}
			return nil, p
		}
		w := appliance.UpOptions{DryRun: in.DryRun, Check: func(revision uint64) error {
			return precondition(in.IfMatch, revision, in.DryRun)
		}}
		return s.up(ctx, in.Key, "PUT "+base+"/clusters/"+in.Cluster, in.Body, w)
	})
}

// precondition compares If-Match (RFC 9110, section 13.1.1) with the cluster's
// revision, which is 0 if there is no cluster. Only strong tags match.
func precondition(ifMatch string, revision uint64, dryRun bool) error {
	if ifMatch == "" {
		if revision == 0 || dryRun {
			return nil
		}
		return appliance.NewProblem(appliance.ErrPreconditionNeed, "the cluster exists: a change needs the header If-Match").
			WithHint("GET the cluster and send its ETag, now %s, as If-Match", etag(revision))
	}
	for tag := range strings.SplitSeq(ifMatch, ",") {
		tag = strings.TrimSpace(tag)
		if revision != 0 && (tag == "*" || tag == etag(revision)) {
			return nil
		}
	}
	if revision == 0 {
		return appliance.NewProblem(appliance.ErrPrecondition, "the request has If-Match, but the cluster does not exist").
			WithHint("leave If-Match out to create the cluster")
	}
	return appliance.NewProblem(appliance.ErrPrecondition, "the cluster has changed: If-Match is %s, the ETag is %s", visible(ifMatch), etag(revision)).
		WithHint("GET the cluster, look at what changed, and send the request again with its ETag")
}

func (s *Server) up(ctx context.Context, key, route string, spec appliance.Spec, w appliance.UpOptions) (*operationOutput, error) {
	if err := spec.WithDefaults().Validate(); err != nil {
		return nil, err
	}
	if w.DryRun {
		route += "?dry_run"
	}
	o, err := s.onceOnly(ctx, key, route, func(ctx context.Context) (appliance.Operation, error) { return s.cfg.Service.Up(ctx, spec, w) })
	if err != nil {
		if s.cfg.SQLFiles != nil && !w.DryRun {
			s.cfg.SQLFiles.DropSQL(ctx, spec.Name) // uploads for this request
		}
		return nil, err
	}
	return accepted(ctx, o), nil
}

// MembersRequest asks for standbys.
type MembersRequest struct {
	Standbys *int `json:"standbys,omitempty" minimum:"0" maximum:"16" doc:"how many standbys there shall be; left out: one more"`
}

// registerScale adds the routes that add and remove members.
func (s *Server) registerScale(api *routes) {
	type addInput struct {
		ClusterPath
		IdempotencyHeader
		Force bool `query:"force" doc:"also remove the last standby that keeps the promise of durability quorum, which ends the promise"`
		Body  *MembersRequest
	}
	scale := func(ctx context.Context, key, route, cluster string, w appliance.ScaleWish) (*operationOutput, error) {
		if w.Force {
			route += "?force"
		}
		o, err := s.onceOnly(ctx, key, route, func(ctx context.Context) (appliance.Operation, error) { return s.cfg.Service.Scale(ctx, cluster, w) })
		if err != nil {
			return nil, err
		}
		return accepted(ctx, o), nil
	}
	route(api, huma.Operation{
		OperationID: "add-members", Method: http.MethodPost, Path: base + "/clusters/{cluster}/members",
		Summary: "Add a standby, or bring their number to that of the body", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *addInput) (*operationOutput, error) {
		w := appliance.ScaleWish{Add: 1}
		if in.Body != nil && in.Body.Standbys != nil {
			w = appliance.ScaleWish{Standbys: in.Body.Standbys}
		}
		w.Force = in.Force
		return scale(ctx, in.Key, "add "+in.Cluster, in.Cluster, w)
	})
	type removeInput struct {
		MemberPath
		IdempotencyHeader
		Force bool `query:"force" doc:"also remove the last standby that keeps the promise of durability quorum, which ends the promise"`
	}
	route(api, huma.Operation{
		OperationID: "remove-member", Method: http.MethodDelete, Path: base + "/clusters/{cluster}/members/{member}",
		Summary: "Remove a standby with all its data; never the primary", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *removeInput) (*operationOutput, error) {
		return scale(ctx, in.Key, "remove "+in.Cluster+"/"+in.Member, in.Cluster, appliance.ScaleWish{Remove: in.Member, Force: in.Force})
	})
}
