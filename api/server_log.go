package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
)

// note collects facts for a request's log line that only inner handlers know.
type note struct {
	caller    atomic.Value // string
	operation atomic.Value // string
}

type noteKey struct{}

func noteCaller(ctx context.Context, name string) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.caller.Store(name)
	}
}

func noteOperation(ctx context.Context, id string) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.operation.Store(id)
	}
}

// recorder remembers the status, and bounds the time for sending the response.
// Streams extend that time with each event.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		extend(w.ResponseWriter)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the response if WriteHeader wasn't called.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend sets the deadline for the next write. Recorders in tests have no
// deadline, so the error is ignored.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// record logs each request in one line, each change also in an audit line, and
// turns a panic into a response. Bodies, queries and headers are never logged.
func (g *gate) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		n := &note{}
		rec := &recorder{ResponseWriter: w}
		id := uuid.NewString()
		w.Header().Set("X-Request-Id", id)
		r = r.WithContext(context.WithValue(r.Context(), noteKey{}, n))
		defer func() {
			p := recover()
			begun := rec.status != 0
			if p != nil && !begun {
				writeProblem(rec, r, &appliance.Problem{ID: appliance.ErrInternal, Message: "internal error (request " + id + " in the daemon's log)"}, 0)
			}
			g.logRequest(r, rec, n, id, time.Since(start))
			if p == nil {
				return
			}
			err, _ := p.(error)
			if !errors.Is(err, http.ErrAbortHandler) {
				g.log.Error("a request panicked", "request", id, "panic", p, "stack", string(debug.Stack()))
			}
			if begun {
				panic(http.ErrAbortHandler) // the response may be incomplete: close the connection
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

func (g *gate) logRequest(r *http.Request, rec *recorder, n *note, id string, took time.Duration) {
	caller, _ := n.caller.Load().(string)
	operation, _ := n.operation.Load().(string)
	attrs := []slog.Attr{
		slog.String("method", visible(r.Method)), slog.String("path", visible(r.URL.EscapedPath())),
		slog.Int("status", rec.status), slog.Duration("duration", took),
		slog.String("caller", caller), slog.String("request", id),
	}
	if operation != "" {
		attrs = append(attrs, slog.String("operation", operation))
	}
	level := slog.LevelInfo
	if attributesOf(r.Context()).access == anyone {
		level = slog.LevelDebug // health checks come every second
	}
	// The request's context ends when the client disconnects.
	ctx := context.WithoutCancel(r.Context())
	g.log.LogAttrs(ctx, level, "request", attrs...)
	if safe(r.Method) {
		return
	}
	outcome := "accepted"
	if rec.status >= http.StatusBadRequest || rec.status == 0 {
		outcome = "refused"
	}
	g.log.LogAttrs(ctx, slog.LevelInfo, "audit", append(attrs, slog.String("outcome", outcome), slog.String("from", visible(r.RemoteAddr)))...)
}
