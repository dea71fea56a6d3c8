package api

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"pgapp/appliance"
)

const problemType = "application/problem+json"

// ProblemDetails is an [appliance.Problem] on the wire (RFC 9457). Type is its
// id, which as a relative URI reference is a valid type.
type ProblemDetails struct {
	Type      string              `json:"type" doc:"the error's stable id" example:"operation-running"`
	Title     string              `json:"title" doc:"the id in words"`
	Status    int                 `json:"status" doc:"the HTTP status"`
	Detail    string              `json:"detail" doc:"what failed and why"`
	Instance  string              `json:"instance,omitempty" doc:"the path that was asked for"`
	Hint      string              `json:"hint,omitempty" doc:"what to do next"`
	Errors    []ProblemFieldError `json:"errors,omitempty" doc:"every wrong field"`
	Operation string              `json:"operation,omitempty" doc:"id of the operation that stands in the way, or failed"`
	Log       string              `json:"log,omitempty" doc:"further lines, such as the end of a log"`
}

// ProblemFieldError is one wrong field and where in the request it is, such as
// body.parameters.work_mem or path.cluster.
type ProblemFieldError struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// statusError carries a problem through huma.
type statusError struct{ ProblemDetails }

// GetStatus returns the HTTP status, for huma.
func (e *statusError) GetStatus() int { return e.Status }

// Error is the detail.
func (e *statusError) Error() string { return e.Detail }

// ContentType returns the media type, for huma.
func (e *statusError) ContentType(string) string { return problemType }

// GetHeaders returns Retry-After if a retry may help.
func (e *statusError) GetHeaders() http.Header {
	h := http.Header{}
	if after := retryAfter(appliance.ErrorID(e.Type)); after > 0 {
		h.Set("Retry-After", strconv.Itoa(after))
	}
	return h
}

// retryAfter returns seconds, or 0 if a retry alone does not help.
func retryAfter(id appliance.ErrorID) int {
	switch id {
	case appliance.ErrTooMany, appliance.ErrOperationRunning:
		return 1
	case appliance.ErrDaemonRecovery:
		return 30
	}
	return 0
}

// fail converts a handler's error for huma. It returns nil for nil.
func fail(err error) error {
	if err == nil {
		return nil
	}
	return &statusError{toDetails(appliance.AsProblem(err), 0, "body.")}
}

// toDetails converts a problem. Status 0 stands for the id's own status; prefix
// is put before the fields' names.
func toDetails(p *appliance.Problem, status int, prefix string) ProblemDetails {
	if status == 0 {
		_, status = p.ID.Codes()
	}
	d := ProblemDetails{
		Type: string(p.ID), Title: title(p.ID), Status: status, Detail: p.Message,
		Hint: p.Hint, Operation: p.Operation, Log: p.Detail,
	}
	for _, f := range p.Fields {
		d.Errors = append(d.Errors, ProblemFieldError{Location: prefix + f.Field, Message: f.Message})
	}
	return d
}

// problem is the reverse of toDetails.
func (d ProblemDetails) problem() *appliance.Problem {
	p := &appliance.Problem{
		ID: appliance.ErrorID(d.Type), Message: d.Detail, Hint: d.Hint, Operation: d.Operation, Detail: d.Log,
	}
	for _, e := range d.Errors {
		p.Fields = append(p.Fields, appliance.FieldError{Field: fieldOf(e.Location), Message: e.Message})
	}
	return p
}

// fieldOf returns a location without its prefix for the part of the request.
func fieldOf(location string) string {
	if part, field, ok := strings.Cut(location, "."); ok {
		switch part {
		case "body", "path", "query", "header":
			return field
		}
	}
	return location
}

// title returns the id in words.
func title(id appliance.ErrorID) string {
	s := strings.ReplaceAll(string(id), "-", " ")
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// problemTransformer converts huma's errors to problems. It can't change the
// status, which huma has chosen.
func problemTransformer(ctx huma.Context, _ string, v any) (any, error) {
	var d ProblemDetails
	switch e := v.(type) {
	case *statusError:
		d = e.ProblemDetails
	case *huma.ErrorModel:
		d = humaDetails(e)
	default:
		return v, nil
	}
	u := ctx.URL()
	d.Instance = u.EscapedPath()
	return &statusError{d}, nil
}

func humaDetails(e *huma.ErrorModel) ProblemDetails {
	p := &appliance.Problem{ID: idOf(e.Status), Message: e.Detail}
	switch e.Status {
	case http.StatusUnprocessableEntity:
		p.Message = "the request is not valid"
		p.Hint = "GET /openapi.json describes what each field takes"
	case http.StatusUnsupportedMediaType:
		p.Message, e.Errors = "the body is not JSON", nil
		p.Hint = "send it with Content-Type: application/json"
	case http.StatusBadRequest:
		p.Hint = "the body has to be one JSON object"
	}
	for _, d := range e.Errors {
		if e.Status == http.StatusBadRequest {
			p.Message += ": " + d.Message
			continue
		}
		p.Fields = append(p.Fields, appliance.FieldError{Field: visible(d.Location), Message: d.Message})
	}
	return toDetails(p, e.Status, "")
}

// idOf returns the error id for a status that huma or echo has chosen.
func idOf(status int) appliance.ErrorID {
	switch status {
	case http.StatusUnprocessableEntity:
		return appliance.ErrInvalidSpec
	case http.StatusNotFound:
		return appliance.ErrNotFound
	case http.StatusRequestEntityTooLarge:
		return appliance.ErrTooLarge
	case http.StatusRequestTimeout:
		return appliance.ErrTimeout
	}
	if status >= 400 && status < 500 {
		return appliance.ErrUsage
	}
	return appliance.ErrInternal
}

// routeProblem converts the router's errors; it also returns the status.
func routeProblem(err error) (*appliance.Problem, int) {
	var he *echo.HTTPError
	if !errors.As(err, &he) {
		return appliance.AsProblem(err), 0
	}
	hint := "GET /openapi.json lists the routes"
	if he.Code == http.StatusMethodNotAllowed {
		return appliance.NewProblem(appliance.ErrUsage, "this path does not support that method").WithHint("%s", hint), he.Code
	}
	return appliance.NewProblem(idOf(he.Code), "no route matches this path").WithHint("%s", hint), he.Code
}

// writeProblem sends a problem without huma. Status 0 stands for the id's own.
func writeProblem(w http.ResponseWriter, r *http.Request, p *appliance.Problem, status int) {
	e := &statusError{toDetails(p, status, "")}
	e.Instance = r.URL.EscapedPath()
	h := w.Header()
	h.Set("Content-Type", problemType)
	for k, v := range e.GetHeaders() {
		h[k] = v
	}
	var body bytes.Buffer
	if err := marshalJSON(&body, e.ProblemDetails); err != nil {
		body.Reset() // can't happen: strings and numbers always marshal
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body.Bytes()) // fails only if the client has disconnected
}

// visible makes text of a request safe for responses and log lines.
func visible(s string) string { return appliance.Visible(s, 120) }
