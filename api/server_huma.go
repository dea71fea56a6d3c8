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

// newRouter returns huma's API, which registers routes, and echo's router, which
// finds them.
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

// patternOf returns the pattern that the request's path matches. If it matches
// none, the result is the pattern of no route.
func patternOf(e *echo.Echo) func(*http.Request) string {
	return func(r *http.Request) string {
		c := e.AcquireContext()
		defer e.ReleaseContext(c)
		c.Reset(r, nil)
		e.Router().Find(r.Method, echo.GetPath(r), c)
		return c.Path()
	}
}

// echoPath converts huma's {name} in a path to echo's :name.
func echoPath(path string) string { return strings.NewReplacer("{", ":", "}", "").Replace(path) }

// humaConfig turns off huma's documentation page, which loads from the network;
// $schema in each body; and huma's openapi.json, which is not safe for
// concurrent use.
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

// fixSpecSchema adapts the schema to the domain: all fields are optional, and
// numbers fit an int. [appliance.Spec.Validate] checks everything else.
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

// tidySchemas corrects the schemas of responses: fields may be added later, and
// lists are never null. Schemas of requests stay strict.
func tidySchemas(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	// huma describes its own error model whether it is used or not.
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	// The journal keeps these for itself: the fields that hold them are hidden.
	delete(schemas, "AdoptDecision")
	delete(schemas, "Decision")
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

// requestSchemas returns the schemas of request bodies.
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
