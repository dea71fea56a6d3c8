package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

const (
	// healthFresh is how long an observation is used for health checks.
	healthFresh = 500 * time.Millisecond
	// healthPatience bounds the observation of a check.
	healthPatience = 2 * time.Second
)

// Health is the response to a load balancer's check.
type Health struct {
	Cluster string                `json:"cluster"`
	Member  string                `json:"member"`
	Check   string                `json:"check"`
	OK      bool                  `json:"ok"`
	Role    appliance.Role        `json:"role,omitempty"`
	State   appliance.MemberState `json:"state,omitempty"`
	Detail  string                `json:"detail,omitempty"`
}

type healthInput struct {
	MemberPath
	Check string `path:"check" enum:"primary,replica,read-only,sync,any" doc:"primary: takes writes; replica: a streaming standby; read-only: either; sync: a streaming standby that commits wait for under durability quorum; any: answers at all"`
}

type healthOutput struct {
	Status int
	Body   Health
}

// registerHealth adds the checks, for each method that load balancers use.
func (s *Server) registerHealth(api *routes) {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		op := huma.Operation{
			OperationID: "health-" + strings.ToLower(method), Method: method, Path: "/health/{cluster}/{member}/{check}",
			Summary: "For load balancers, without a token: 200 where the member is that, else 503",
		}
		route(api, op, attributes{access: anyone}, s.checkHealth)
	}
	api.below["/health/"] = attributes{access: anyone, body: wholeBody} // a misspelt check is a 404, not a 401
}

func (s *Server) checkHealth(ctx context.Context, in *healthInput) (*healthOutput, error) {
	out := &healthOutput{Status: http.StatusServiceUnavailable, Body: Health{Cluster: in.Cluster, Member: in.Member, Check: in.Check}}
	st, err := look(ctx, &s.health, in.Cluster, healthPatience, func(ctx context.Context) (appliance.ClusterStatus, error) {
		return s.cfg.Service.Status(ctx, in.Cluster)
	})
	if err != nil {
		out.Body.Detail = string(appliance.AsProblem(err).ID)
		return out, nil
	}
	for _, m := range st.Members {
		if m.Name != in.Member {
			continue
		}
		out.Body.Role, out.Body.State = m.Role, m.State
		if healthy(in.Check, m, st) {
			out.Status, out.Body.OK = http.StatusOK, true
		}
	}
	return out, nil
}

// healthy never calls two members primary: the record names one.
func healthy(check string, m appliance.MemberStatus, st appliance.ClusterStatus) bool {
	isPrimary := m.Name == st.Primary && m.Role == appliance.RolePrimary && m.State == appliance.StateRunning
	isReplica := m.Role == appliance.RoleStandby && m.State == appliance.StateStreaming
	switch check {
	case "primary":
		return isPrimary
	case "replica":
		return isReplica
	case "read-only":
		return isPrimary || isReplica
	case "sync":
		return isReplica && st.Promise != nil && st.Promise.Has(m.Name)
	case "any":
		return isPrimary || isReplica || m.State == appliance.StateRunning || m.State == appliance.StateCatchup
	}
	return false
}
