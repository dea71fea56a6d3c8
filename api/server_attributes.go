package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// access says who may use a route over TCP. Over the unix socket, the daemon's
// user and root may use all routes.
type access int

// The zero value is invalid: each route names one of these.
const (
	anyone  access = iota + 1 // no token: load balancers and process supervisors
	readers                   // any token
	admins                    // a token with scope admin
)

// bodyKind says which request body a route takes.
type bodyKind int

const (
	noBody      bodyKind = iota
	wholeBody            // bounded, and read before the handler runs
	archiveBody          // streamed to the handler; each piece has to arrive in time
	pipeBody             // streamed to the handler, for as long as the client sends
)

// attributes are what the guards need to know about a route. They are set where
// the route is registered.
type attributes struct {
	access access
	body   bodyKind
	// stream is set for a route that stays open for long. Streams have a limit of
	// their own.
	stream bool
	// recovery is set for a route that works without a usable state.
	recovery bool
	// held is set for a route that answers while the state is being replaced.
	held bool
	// adminFor names the boolean query parameter that only admins may set.
	adminFor string
	// repeats names the query parameter that may be given more than once.
	repeats string
}

// routes registers routes and keeps their attributes. It is read-only after
// registration.
type routes struct {
	huma.API
	known map[string]map[string]attributes // by pattern and method
	below map[string]attributes            // by prefix, for paths without a route
}

func newRoutes(api huma.API) *routes {
	return &routes{API: api, known: map[string]map[string]attributes{}, below: map[string]attributes{}}
}

// route registers a huma operation with its attributes. It panics if the
// attributes are incomplete or contradict the operation, which no input can
// cause.
func route[I, O any](api *routes, op huma.Operation, is attributes, h func(context.Context, *I) (*O, error)) {
	problems(api, &op)
	if is.access != anyone {
		op.Security = []map[string][]string{{"token": {}}}
	}
	op.SkipValidateBody = false
	huma.Register(api.API, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, fail(err)
		}
		return out, nil
	})
	if err := is.check(op.Method, registered(api, op.Method, op.Path)); err != nil {
		panic(fmt.Errorf("registering %s %s: %w", op.Method, op.Path, err))
	}
	pattern := echoPath(op.Path)
	if api.known[pattern] == nil {
		api.known[pattern] = map[string]attributes{}
	}
	api.known[pattern][op.Method] = is
}

// check compares the attributes with the operation that huma has registered.
func (a attributes) check(method string, op *huma.Operation) error {
	switch {
	case a.access < anyone || a.access > admins:
		return fmt.Errorf("the route does not say who may use it")
	case a.access != admins && !safe(method):
		return fmt.Errorf("a route that changes something needs scope %s", ScopeAdmin)
	case (a.body != noBody) != (op.RequestBody != nil):
		return fmt.Errorf("the attributes and the operation differ about the body")
	}
	repeats := func(p *huma.Param) bool { return p.In == "query" && p.Explode != nil && *p.Explode }
	i := slices.IndexFunc(op.Parameters, repeats)
	if name := a.repeats; i < 0 && name != "" || i >= 0 && op.Parameters[i].Name != name {
		return fmt.Errorf("the attributes and the operation differ about parameters that repeat")
	}
	forAdmins := func(p *huma.Param) bool { return p.In == "query" && p.Name == a.adminFor }
	if a.adminFor != "" && !slices.ContainsFunc(op.Parameters, forAdmins) {
		return fmt.Errorf("the operation has no parameter %s", a.adminFor)
	}
	return nil
}

// accessFor returns who may make this request. A value of adminFor that is no
// boolean counts as true.
func (a attributes) accessFor(r *http.Request) access {
	value := r.URL.Query().Get(a.adminFor)
	if set, err := strconv.ParseBool(value); a.adminFor != "" && value != "" && (set || err != nil) {
		return admins
	}
	return a.access
}

// registered returns the operation as huma has completed it.
func registered(api huma.API, method, path string) *huma.Operation {
	item := api.OpenAPI().Paths[path]
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodHead:
		return item.Head
	case http.MethodOptions:
		return item.Options
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodDelete:
		return item.Delete
	}
	panic(fmt.Errorf("no route uses method %s", method))
}

// of returns the attributes of a request whose path has that pattern. If the
// pattern has no route for the method, the request gets the attributes that all
// routes of the pattern share. Without a pattern, it gets those of the prefix,
// or else the defaults.
func (r *routes) of(method, pattern, path string) attributes {
	known := r.known[pattern]
	if is, ok := known[method]; ok {
		return is
	}
	is := attributes{access: readers, body: wholeBody}
	if !safe(method) {
		is.access = admins
	}
	if len(known) > 0 {
		is.recovery, is.held = true, true
		open := true
		for _, other := range known {
			open = open && other.access == anyone
			is.recovery, is.held = is.recovery && other.recovery, is.held && other.held
		}
		if open {
			is.access = anyone
		}
		return is
	}
	for prefix, is := range r.below {
		if strings.HasPrefix(path, prefix) {
			return is
		}
	}
	return is
}

type attributesKey struct{}

// attributesOf returns the attributes of the request's route.
func attributesOf(ctx context.Context) attributes {
	is, _ := ctx.Value(attributesKey{}).(attributes)
	return is
}

// attach puts the attributes of the request's route into its context, for the
// guards that run before the router.
func (r *routes) attach(find func(*http.Request) (pattern string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		is := r.of(req.Method, find(req), req.URL.Path)
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), attributesKey{}, is)))
	})
}
