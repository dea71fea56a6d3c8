package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// SQLFile is uploaded SQL that the daemon keeps for a load.
type SQLFile struct {
	Path  string `json:"path" yaml:"path" doc:"on the daemon's machine: what the spec's sql names"`
	Bytes int64  `json:"bytes" yaml:"bytes"`
}

// SQLFiles keeps uploaded SQL until it is loaded.
type SQLFiles interface {
	// KeepSQL stores the SQL and replaces an earlier upload of that name. When it
	// returns nil the SQL is on disk; after an error nothing has changed.
	KeepSQL(ctx context.Context, cluster, name string, in io.Reader) (SQLFile, error)
	// DropSQL removes the cluster's uploads that no load still needs.
	DropSQL(ctx context.Context, cluster string)
}

// SQLPath names an upload of SQL.
type SQLPath struct {
	ClusterPath
	Name string `path:"name" maxLength:"40" pattern:"^[a-z0-9][a-z0-9.-]*$" patternDescription:"a-z, 0-9, . and -, starting with a letter or digit" doc:"name of the SQL" example:"1-stdin"`
}

// registerSQL adds the route for uploads of SQL.
func (s *Server) registerSQL(api *routes) {
	route(api, huma.Operation{
		OperationID: "put-sql", Method: http.MethodPut, Path: base + "/clusters/{cluster}/sql/{name}",
		Summary:     "Send SQL that no file on the daemon's machine holds; the path in the answer goes into the spec's sql",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{archiveType: {Schema: binary()}}}, DefaultStatus: http.StatusOK,
	}, attributes{access: admins, body: pipeBody, stream: true}, func(ctx context.Context, in *SQLPath) (*bodyOutput[SQLFile], error) {
		if s.cfg.SQLFiles == nil {
			return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon does not accept SQL uploads")
		}
		body, ok := ctx.Value(uploadKey{}).(io.Reader)
		if !ok {
			return nil, fmt.Errorf("keeping SQL: it was not received")
		}
		f, err := s.cfg.SQLFiles.KeepSQL(ctx, in.Cluster, in.Name, body)
		return &bodyOutput[SQLFile]{f}, err
	})
}

// receiveSQL streams a body of any length and duration to the handler, since its
// source may be a pipe. It ends with the client, the server, or the token.
func (g *gate) receiveSQL(next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := g.streamContext(r.Context())
	defer cancel()
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // recorders in tests have no deadline
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer stop()
	body := io.Reader(r.Body)
	r = r.WithContext(context.WithValue(ctx, uploadKey{}, body))
	r.Body = http.NoBody
	next.ServeHTTP(w, r)
}
