package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// SwitchoverRequest is the body of a switchover.
type SwitchoverRequest struct {
	To string `json:"to,omitempty" doc:"the member that becomes the primary; empty for the best one"`
}

// FailoverRequest is the body of a failover.
type FailoverRequest struct {
	To            string `json:"to,omitempty" doc:"the member that becomes the primary; empty for the best one"`
	AllowDataLoss bool   `json:"allow_data_loss,omitempty" doc:"promote a member that may lack acknowledged commits"`
}

// registerPrimary adds the routes that change the primary and bring members back.
func (s *Server) registerPrimary(api *routes) {
	type switchoverInput struct {
		ClusterPath
		IdempotencyHeader
		Body *SwitchoverRequest
	}
	route(api, huma.Operation{
		OperationID: "switchover", Method: http.MethodPost, Path: base + "/clusters/{cluster}/switchover",
		Summary: "Move the primary to a standby, without loss", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *switchoverInput) (*operationOutput, error) {
		var p appliance.OperationParams
		if in.Body != nil {
			p.To = in.Body.To
		}
		return s.submit(ctx, in.Key, in.Cluster, appliance.OpSwitchover, p)
	})
	type failoverInput struct {
		ClusterPath
		IdempotencyHeader
		Body *FailoverRequest
	}
	route(api, huma.Operation{
		OperationID: "failover", Method: http.MethodPost, Path: base + "/clusters/{cluster}/failover",
		Summary: "Replace a dead primary by a standby", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *failoverInput) (*operationOutput, error) {
		var p appliance.OperationParams
		if in.Body != nil {
			p.To, p.AllowDataLoss = in.Body.To, in.Body.AllowDataLoss
		}
		return s.submit(ctx, in.Key, in.Cluster, appliance.OpFailover, p)
	})
	s.clusterChange(api, http.MethodPost, "/rejoin", "rejoin-members", appliance.OpRejoin, "Bring members back as standbys after a change of primary")
	s.memberChange(api, "rejoin", appliance.OpRejoin, "Bring the member back as a standby after a change of primary")
}

// changeOf names the rest of a request, so that the same key with another body or query
// is refused.
func changeOf(p appliance.OperationParams) string {
	if p.Force {
		return "?force=true"
	}
	if p.To == "" && !p.AllowDataLoss {
		return ""
	}
	return "?to=" + p.To + "&allow_data_loss=" + strconv.FormatBool(p.AllowDataLoss)
}
