package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// watchPoll is the pause between two looks at an operation that is running
// according to the journal, but not in this process (yet).
const watchPoll = 100 * time.Millisecond

// registerStreams adds the routes that stay open.
func (s *Server) registerStreams(api *routes) {
	type eventsInput struct {
		OperationPath
		LastEventID string `header:"Last-Event-ID" maxLength:"20" pattern:"^[0-9]*$" patternDescription:"a revision" doc:"the revision seen last: resumes after it"`
	}
	events := huma.Operation{
		OperationID: "watch-operation", Method: http.MethodGet, Path: base + "/operations/{id}/events",
		Summary: "Server-sent events: a snapshot of the operation at each change, its revision as the id; ends after the final one",
		Responses: map[string]*huma.Response{"200": {
			Description: "event: operation; id: revision; data: the operation as JSON",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}
	route(api, events, attributes{access: readers, stream: true}, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		if _, err := s.cfg.Operations.Operation(ctx, in.ID); err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) { s.sendEvents(ctx, writerOf(c), in.ID, in.LastEventID) }}, nil
	})
	type logsInput struct {
		ClusterPath
		Member string `query:"member" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9 and -, starting with a letter, not ending in -" doc:"only this member's; else all, each line prefixed"`
		Follow bool   `query:"follow" doc:"go on with what is written from now on"`
	}
	route(api, huma.Operation{
		OperationID: "get-cluster-logs", Method: http.MethodGet, Path: base + "/clusters/{cluster}/logs",
		Summary: "The members' PostgreSQL logs", Responses: textResponse("log lines"),
	}, attributes{access: readers, stream: true}, func(ctx context.Context, in *logsInput) (*huma.StreamResponse, error) {
		return s.logStream(ctx, func(ctx context.Context, w *streamWriter) error {
			return s.cfg.Logs.Logs(ctx, in.Cluster, in.Member, in.Follow, w)
		}), nil
	})
	type daemonLogsInput struct {
		Follow bool `query:"follow" doc:"go on with what is written from now on"`
	}
	route(api, huma.Operation{
		OperationID: "get-daemon-logs", Method: http.MethodGet, Path: base + "/logs",
		Summary: "The daemon's own log", Responses: textResponse("log lines"),
	}, attributes{access: readers, stream: true, recovery: true}, func(ctx context.Context, in *daemonLogsInput) (*huma.StreamResponse, error) {
		if s.cfg.DaemonLogs == nil {
			return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon's log can't be read through its API")
		}
		return s.logStream(ctx, func(ctx context.Context, w *streamWriter) error {
			return s.cfg.DaemonLogs(ctx, in.Follow, w)
		}), nil
	})
}

// streamContext returns a context that ends with the request, with the server,
// or soon after the caller's token was revoked.
func (g *gate) streamContext(ctx context.Context) (context.Context, context.CancelFunc) {
	stop, who := connOf(ctx).stop, callerOf(ctx)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		again := time.NewTicker(g.timing.beat)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				if !g.stillAllowed(ctx, who) {
					return
				}
			case <-stop:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(); <-done }
}

// streamWriter sends each write at once.
type streamWriter struct {
	w    http.ResponseWriter
	sent bool
}

// Write sends the bytes. It fails if the client doesn't read them in time.
func (s *streamWriter) Write(b []byte) (int, error) {
	s.sent = true
	extend(s.w)
	n, err := s.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(s.w).Flush()
}

// writerOf returns the response writer below huma's context.
func writerOf(c huma.Context) http.ResponseWriter {
	w, ok := c.BodyWriter().(http.ResponseWriter)
	if !ok {
		panic(fmt.Sprintf("huma's body writer is a %T", c.BodyWriter()))
	}
	return w
}

// logStream responds with the output of write. An error before the first byte is
// sent as a problem; after it the connection is cut, so that the client notices.
func (s *Server) logStream(ctx context.Context, write func(ctx context.Context, w *streamWriter) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		ctx, cancel := s.gate.streamContext(ctx)
		defer cancel()
		w := writerOf(c)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Accel-Buffering", "no")
		out := &streamWriter{w: w}
		err := write(ctx, out)
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case out.sent:
			s.log.Warn("a log stream ended early", "error", err)
			panic(http.ErrAbortHandler)
		}
		p := appliance.AsProblem(err)
		u := c.URL()
		writeProblem(w, &http.Request{URL: &u}, p, 0)
	}}
}

// sendEvents sends snapshots until the final one, or until the client or the
// server ends. A client that has seen the newest snapshot waits for the next.
func (s *Server) sendEvents(ctx context.Context, w http.ResponseWriter, id, last string) {
	ctx, cancel := s.gate.streamContext(ctx)
	defer cancel()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	out := &eventWriter{w: &streamWriter{w: w}}
	if seen, err := strconv.ParseUint(last, 10, 64); err == nil {
		out.last, out.any = seen, true
	}
	if err := out.comment(); err != nil {
		return
	}
	beat := time.NewTicker(s.gate.timing.beat)
	defer beat.Stop()
	again := time.NewTicker(watchPoll)
	defer again.Stop()
	for {
		changes, err := s.cfg.Operations.Watch(ctx, id)
		if err != nil || !out.follow(changes, beat.C) {
			return // the client reconnects and gets the problem
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w    *streamWriter
	last uint64
	any  bool // last is set
}

// comment sends a heartbeat, for proxies and the client.
func (e *eventWriter) comment() error {
	_, err := e.w.Write([]byte(": pgapp\n\n"))
	return err
}

// follow sends snapshots until the channel closes. It returns false if the stream
// has ended.
func (e *eventWriter) follow(changes <-chan appliance.Operation, beat <-chan time.Time) bool {
	for {
		select {
		case o, ok := <-changes:
			if !ok {
				return true
			}
			if err := e.send(o); err != nil || o.State.Final() {
				return false
			}
		case <-beat:
			if err := e.comment(); err != nil {
				return false
			}
		}
	}
}

// send skips a snapshot that the client has seen, but never the final one.
func (e *eventWriter) send(o appliance.Operation) error {
	if e.any && o.Revision == e.last && !o.State.Final() {
		return nil
	}
	data, err := json.Marshal(withSteps(o))
	if err != nil {
		return fmt.Errorf("writing operation %q: %w", o.ID, err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %d\nevent: operation\ndata: %s\n\n", o.Revision, data)
	if _, err := e.w.Write(b.Bytes()); err != nil {
		return err
	}
	e.last, e.any = o.Revision, true
	return nil
}
