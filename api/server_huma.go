package api

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"pgapp/appliance"
)

// This is the only file that knows both echo and huma: the adapter's signature
// changes with echo's major version.

// newRouter returns the two: huma registers routes, echo finds them.
func newRouter() (huma.API, *echo.Echo) {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		p, status := routeProblem(err)
		writeProblem(c.Response(), c.Request(), p, status)
	}
	return humaecho.New(e, humaConfig()), e
}

// patternOf returns the pattern of the routes that the request's path fits, or
// what fits no route's pattern.
func patternOf(e *echo.Echo) func(*http.Request) string {
	return func(r *http.Request) string {
		c := e.AcquireContext()
		defer e.ReleaseContext(c)
		c.Reset(r, nil)
		e.Router().Find(r.Method, echo.GetPath(r), c)
		return c.Path()
	}
}

// echoPath is huma's path as echo knows it.
func echoPath(path string) string { return strings.NewReplacer("{", ":", "}", "").Replace(path) }

// humaConfig avoids huma's defaults that touch the network (its documentation
// page), add to every body ($schema), or aren't safe to use concurrently (its
// own openapi.json).
func humaConfig() huma.Config {
	format := huma.Format{Marshal: marshalJSON, Unmarshal: json.Unmarshal}
	c := huma.DefaultConfig("pgapp", "v1")
	c.Info.Description = "A verified PostgreSQL 17 cluster: one primary and its hot standbys. " +
		"What takes time answers 202 with the Location of an operation. " +
		"Every error is an RFC 9457 problem whose type is a stable id."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{problemTransformer}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "needed over TCP, not over the unix socket"},
	}
	fixSpecSchema(c.Components.Schemas)
	return c
}

func marshalJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// fixSpecSchema makes the schema say what the domain does: every field has a
// default, and numbers fit an int. All else is [appliance.Spec.Validate]'s.
func fixSpecSchema(r huma.Registry) {
	s := r.Schema(reflect.TypeFor[appliance.Spec](), false, "")
	s.Required = nil
	for _, p := range s.Properties {
		if p.Type != huma.TypeInteger {
			continue
		}
		low, high := float64(math.MinInt32), float64(math.MaxInt32)
		p.Minimum, p.Maximum = &low, &high
		p.PrecomputeMessages()
	}
	s.PrecomputeMessages()
}

// tidySchemas makes the description say of answers what is so: fields may be
// added later, and lists are never null. What requests hold stays strict.
func tidySchemas(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	// huma describes its own error model whether it is used or not.
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	// The journal keeps this for itself: the field that holds it is hidden.
	delete(schemas, "AdoptDecision")
	strict := requestSchemas(doc)
	for _, s := range schemas {
		if strict[s] {
			continue
		}
		s.AdditionalProperties = nil
		for _, p := range s.Properties {
			if p.Type == huma.TypeArray {
				p.Nullable = false
			}
		}
	}
}

// requestSchemas are those that bodies of requests are held against.
func requestSchemas(doc *huma.OpenAPI) map[*huma.Schema]bool {
	found := map[*huma.Schema]bool{}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Post, path.Put, path.Patch} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				found[doc.Components.Schemas.SchemaFromRef(media.Schema.Ref)] = true
			}
		}
	}
	return found
}
