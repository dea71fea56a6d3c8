package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// textOutput is plain text.
type textOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// text is a response in plain text.
func text(s string) *textOutput {
	return &textOutput{ContentType: "text/plain; charset=utf-8", Body: []byte(s)}
}

func textResponse(description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// registerDaemon adds the routes that concern the daemon itself.
func (s *Server) registerDaemon(api *routes) {
	type none struct{}
	route(api, huma.Operation{
		OperationID: "get-info", Method: http.MethodGet, Path: base + "/info", Summary: "The daemon: addresses, version, mode",
	}, attributes{access: readers, recovery: true}, func(ctx context.Context, _ *none) (*bodyOutput[appliance.Info], error) {
		return &bodyOutput[appliance.Info]{s.cfg.Service.Info(ctx)}, nil
	})
	route(api, huma.Operation{
		OperationID: "shutdown", Method: http.MethodPost, Path: base + "/shutdown",
		Summary: "Stop the daemon; clusters run on", DefaultStatus: http.StatusNoContent,
	}, attributes{access: admins, recovery: true}, func(context.Context, *none) (*struct{}, error) {
		if s.cfg.Shutdown == nil {
			return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon can't be stopped through its API")
		}
		s.cfg.Shutdown()
		return nil, nil
	})
	route(api, huma.Operation{
		OperationID: "livez", Method: http.MethodGet, Path: "/livez", Summary: "200 while the daemon answers", Responses: textResponse("alive"),
	}, attributes{access: anyone, recovery: true, held: true}, func(context.Context, *none) (*textOutput, error) { return text("ok\n"), nil })
	type readyInput struct {
		Verbose bool `query:"verbose" doc:"name each check"`
	}
	route(api, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Summary: "200 while the daemon can do its work", Responses: textResponse("ready"),
	}, attributes{access: anyone}, func(ctx context.Context, in *readyInput) (*textOutput, error) {
		if s.cfg.Ready != nil {
			if err := s.cfg.Ready(ctx); err != nil {
				p := appliance.AsProblem(err)
				return nil, &appliance.Problem{ID: appliance.ErrDegraded, Message: "[-]store failed: " + p.Message, Hint: p.Hint}
			}
		}
		if in.Verbose {
			return text("[+]store ok\nreadyz check passed\n"), nil
		}
		return text("ok\n"), nil
	})
	route(api, huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/openapi.json", Summary: "This description",
		Responses: map[string]*huma.Response{"200": {
			Description: "OpenAPI 3.1",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}},
		}},
	}, attributes{access: anyone, recovery: true}, func(context.Context, *none) (*textOutput, error) {
		return &textOutput{ContentType: "application/json", Body: s.openAPI}, nil
	})
}
