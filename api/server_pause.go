package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// PauseRequest is the body of a pause.
type PauseRequest struct {
	For string `json:"for,omitempty" maxLength:"32" example:"10m" doc:"how long the pause lasts, such as 90s, 10m or 1h30m; without it, until it is ended"`
}

// lasts returns how long the pause lasts, 0 without an end.
func (r *PauseRequest) lasts() (time.Duration, error) {
	if r == nil || r.For == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(r.For)
	if err == nil && d > 0 {
		return d, nil
	}
	p := appliance.NewProblem(appliance.ErrInvalidSpec, "the pause's time is not valid")
	p.Fields = []appliance.FieldError{{Field: "for", Message: "has to be a time above 0, such as 90s, 10m or 1h30m"}}
	return 0, p
}

// registerPauses adds the routes that pause and resume what pgapp does by itself.
func (s *Server) registerPauses(api *routes) {
	type pauseInput struct {
		ClusterPath
		Body *PauseRequest
	}
	route(api, huma.Operation{
		OperationID: "pause-cluster", Method: http.MethodPost, Path: base + "/clusters/{cluster}/pause",
		Summary:     "Keep pgapp from replacing a dead primary and bringing back members by itself",
		Description: "In force with the answer, also while an operation runs, which goes on. A repeat sets the end anew.", DefaultStatus: http.StatusOK,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *pauseInput) (*bodyOutput[appliance.Automation], error) {
		lasts, err := in.Body.lasts()
		if err != nil {
			return nil, err
		}
		return s.paused(func(p Pauses) (appliance.Automation, error) { return p.Pause(ctx, in.Cluster, lasts) })
	})
	route(api, huma.Operation{
		OperationID: "resume-cluster", Method: http.MethodPost, Path: base + "/clusters/{cluster}/resume",
		Summary: "End the pause; a repeat is safe", DefaultStatus: http.StatusOK,
	}, attributes{access: admins}, func(ctx context.Context, in *ClusterPath) (*bodyOutput[appliance.Automation], error) {
		return s.paused(func(p Pauses) (appliance.Automation, error) { return p.Resume(ctx, in.Cluster) })
	})
}

func (s *Server) paused(change func(Pauses) (appliance.Automation, error)) (*bodyOutput[appliance.Automation], error) {
	if s.cfg.Pauses == nil {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon does nothing by itself that could be paused")
	}
	a, err := change(s.cfg.Pauses)
	return &bodyOutput[appliance.Automation]{a}, err
}
