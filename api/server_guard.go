package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
)

// middleware wraps the router in the guards that every request passes.
func (g *gate) middleware(router http.Handler) http.Handler {
	h := router
	for _, wrap := range []func(http.Handler) http.Handler{
		g.readBody, checkQuery, g.limit, g.recovery, g.held, g.authenticate, g.checkOrigin, g.checkHost, secureHeaders, g.record,
	} {
		h = wrap(h)
	}
	return h
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		next.ServeHTTP(w, r)
	})
}

// checkHost prevents DNS rebinding: a page of another site, whose name resolves
// to this host, sends that name as Host. Browsers can't reach the unix socket.
func (g *gate) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := connOf(r.Context())
		if !info.unix && !g.hostAllowed(info, r) {
			p := appliance.NewProblem(appliance.ErrHostNotAllowed, "the Host header %s is not one of this daemon's names", visible(r.Host))
			if info.addr != nil {
				p = p.WithHint("use %s", info.addr)
			}
			writeProblem(w, r, p, 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *gate) hostAllowed(info connInfo, r *http.Request) bool {
	if r.Host == "" {
		// Load balancers' HTTP/1.0 checks send no Host; browsers always do.
		return attributesOf(r.Context()).access == anyone
	}
	for _, own := range ownHosts(info) {
		if strings.EqualFold(own, r.Host) {
			return true
		}
	}
	if g.cfg.AllowedHosts == nil {
		return false
	}
	return slices.ContainsFunc(g.cfg.AllowedHosts(), func(a string) bool { return hostMatches(a, r.Host) })
}

// ownHosts returns the Host headers for the listener's address, and those for
// localhost if it listens there.
func ownHosts(info connInfo) []string {
	if info.addr == nil {
		return nil
	}
	hosts := []string{info.addr.IP.String()}
	if info.addr.IP.IsLoopback() || info.addr.IP.IsUnspecified() {
		hosts = append(hosts, "localhost", "127.0.0.1", "::1")
	}
	port := strconv.Itoa(info.addr.Port)
	usual := port == "80" && !info.tls || port == "443" && info.tls
	var out []string
	for _, h := range hosts {
		out = append(out, net.JoinHostPort(h, port))
		if usual {
			out = append(out, strings.TrimSuffix(net.JoinHostPort(h, ""), ":"))
		}
	}
	return out
}

// checkOrigin refuses requests that a browser sends for a page of another
// origin. No such page may use this API, so there is no CORS either.
func (g *gate) checkOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := protection.Check(r)
		if origin := r.Header.Get("Origin"); err == nil && origin != "" {
			u, perr := url.Parse(origin)
			if perr != nil || !strings.EqualFold(u.Host, r.Host) {
				err = errors.New("the Origin header names another site")
			}
		}
		if err != nil {
			writeProblem(w, r, appliance.NewProblem(appliance.ErrForbidden, "a cross-origin request was refused: %w", err), 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// held refuses requests while the state is being replaced.
func (g *gate) held(next http.Handler) http.Handler {
	if g.cfg.Held == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := g.cfg.Held(); p != nil && !attributesOf(r.Context()).held {
			writeProblem(w, r, p, 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recovery refuses, in recovery, all routes that need the state.
func (g *gate) recovery(next http.Handler) http.Handler {
	if g.cfg.Recovery == nil {
		return next
	}
	p := *g.cfg.Recovery
	if p.ID != appliance.ErrDaemonRecovery {
		p = *appliance.NewProblem(appliance.ErrDaemonRecovery, "the daemon is in recovery: %s", p.Message).WithHint("%s", p.Hint).WithDetail(p.Detail)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !attributesOf(r.Context()).recovery {
			writeProblem(w, r, &p, 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limit bounds the number of requests at once. A stream beyond its limit is
// refused; other requests wait.
func (g *gate) limit(next http.Handler) http.Handler {
	const patience = 20 * time.Second
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if attributesOf(r.Context()).stream {
			g.limitStreams(next, w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if !g.acquire(ctx) {
			writeProblem(w, r, appliance.NewProblem(appliance.ErrTooMany, "the daemon is busy with other requests"), 0)
			return
		}
		defer func() { <-g.slots }()
		next.ServeHTTP(w, r)
	})
}

func (g *gate) limitStreams(next http.Handler, w http.ResponseWriter, r *http.Request) {
	select {
	case g.streams <- struct{}{}:
		defer func() { <-g.streams }()
		next.ServeHTTP(w, r)
	default:
		writeProblem(w, r, appliance.NewProblem(appliance.ErrTooMany, "%d streams are open already", cap(g.streams)).
			WithHint("close one, or poll GET %s/operations/ID", base), 0)
	}
}

func (g *gate) acquire(ctx context.Context) bool {
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return false
	}
	select {
	case g.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

type bodyKey struct{}

// bodyOf returns the request's body, for hashing.
func bodyOf(ctx context.Context) []byte {
	b, _ := ctx.Value(bodyKey{}).([]byte)
	return b
}

// readBody reads the whole body within the server's read time-out. Then it lifts
// the time-out, which would also end long responses.
func (g *gate) readBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := attributesOf(r.Context()).body
		switch kind {
		case archiveBody:
			g.upload(next, w, r)
			return
		case pipeBody:
			g.receiveSQL(next, w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if p := bodyProblem(kind, body, err); p != nil {
			status := 0
			if p.ID == appliance.ErrTimeout {
				status = http.StatusRequestTimeout // the client was late, not a server behind this one
			}
			w.Header().Set("Connection", "close")
			writeProblem(w, r, p, status)
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			g.log.Debug("lifting the read time-out", "error", err)
		}
		r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func bodyProblem(kind bodyKind, body []byte, err error) *appliance.Problem {
	var tooLarge *http.MaxBytesError
	var netErr net.Error
	switch {
	case errors.As(err, &tooLarge):
		return appliance.NewProblem(appliance.ErrTooLarge, "the body is larger than %d bytes", maxBodyBytes)
	case errors.As(err, &netErr) && netErr.Timeout():
		return appliance.NewProblem(appliance.ErrTimeout, "the body did not arrive in time")
	case err != nil:
		return appliance.NewProblem(appliance.ErrUsage, "the body can't be read: %w", err)
	case kind == noBody && len(bytes.TrimSpace(body)) > 0 && !bytes.Equal(bytes.TrimSpace(body), []byte("{}")):
		// An ignored field could be one that was meant to narrow the request.
		return appliance.NewProblem(appliance.ErrUsage, "this request takes no body")
	}
	return nil
}
