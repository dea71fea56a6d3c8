package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// caller is the sender of a request.
type caller struct {
	name  string // for the log: uid:0 or token:<start of its hash>
	scope string
	local bool     // came over the unix socket
	hash  [32]byte // of the token
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// peerUID returns the user id of the process at the other end of a unix socket.
func peerUID(c net.Conn) (int, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("reading peer credentials of a %T", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("reading peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return -1, fmt.Errorf("reading peer credentials: %w", err)
	}
	return int(cred.Uid), nil
}

// authenticate identifies the caller and refuses a caller without the right.
func (g *gate) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := connOf(r.Context())
		var c caller
		var err error
		switch {
		case info.err != nil:
			err = appliance.NewProblem(appliance.ErrForbidden, "the caller can't be identified: %w", info.err)
		case info.unix:
			c, err = g.peer(info.uid)
		case attributesOf(r.Context()).access == anyone:
			c = caller{name: "anyone"}
		default:
			c, err = g.bearer(w, r)
		}
		if err == nil {
			err = allowed(c, attributesOf(r.Context()).accessFor(r))
		}
		noteCaller(r.Context(), c.name)
		if err != nil {
			writeProblem(w, r, appliance.AsProblem(err), 0)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

func (g *gate) peer(uid int) (caller, error) {
	c := caller{name: "uid:" + strconv.Itoa(uid), scope: ScopeAdmin, local: true}
	if uid != g.uid && uid != 0 {
		return c, appliance.NewProblem(appliance.ErrForbidden, "this daemon belongs to user id %d, not %d", g.uid, uid).
			WithHint("run the command as that user or as root")
	}
	return c, nil
}

func (g *gate) bearer(w http.ResponseWriter, r *http.Request) (caller, error) {
	var c caller
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	ok := strings.EqualFold(kind, "Bearer") && token != "" && g.cfg.Tokens != nil
	if ok {
		c.hash = sha256.Sum256([]byte(token))
		c.name = "token:" + hex.EncodeToString(c.hash[:4])
		var err error
		if c.scope, ok, err = g.cfg.Tokens.TokenScope(r.Context(), c.hash); err != nil {
			return c, fmt.Errorf("looking up the token: %w", err)
		}
	}
	if ok {
		return c, nil
	}
	c.scope = ""
	w.Header().Set("WWW-Authenticate", `Bearer realm="pgapp"`)
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if err := g.backoff.wait(r.Context(), host); err != nil {
		return c, err
	}
	return c, appliance.NewProblem(appliance.ErrUnauthorised, "a valid token is required").
		WithHint("send the header Authorization: Bearer TOKEN; the home's file 'token' holds the local one")
}

// stillAllowed tells whether the caller's token is still valid.
func (g *gate) stillAllowed(ctx context.Context, c caller) bool {
	if c.local {
		return true
	}
	_, ok, err := g.cfg.Tokens.TokenScope(ctx, c.hash)
	return ok && err == nil
}

// allowed returns a problem if the caller's scope is too small.
func allowed(c caller, who access) error {
	if who == anyone || c.scope == ScopeAdmin || who == readers && c.scope == ScopeRead {
		return nil
	}
	return appliance.NewProblem(appliance.ErrForbidden, "a token with scope %q may not do this", c.scope).
		WithHint("use a token with scope %s", ScopeAdmin)
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// backoff slows down guessing of tokens. Only refused requests wait, so nobody
// with a valid token is locked out.
type backoff struct {
	mu      sync.Mutex
	hosts   map[string]failures
	waiting chan struct{}
}

type failures struct {
	count int
	last  time.Time
}

const (
	backoffMax    = 2 * time.Second
	backoffForget = time.Minute
	backoffHosts  = 4096
)

func newBackoff() *backoff {
	return &backoff{hosts: map[string]failures{}, waiting: make(chan struct{}, 64)}
}

// wait counts a refusal of the host and waits twice as long as for the last one.
// It returns an error at once if too many requests wait.
func (b *backoff) wait(ctx context.Context, host string) error {
	d := b.next(host, time.Now())
	if d == 0 {
		return nil
	}
	select {
	case b.waiting <- struct{}{}:
		defer func() { <-b.waiting }()
	default:
		return appliance.NewProblem(appliance.ErrTooMany, "too many requests without a valid token")
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-connOf(ctx).stop:
	}
	return nil
}

// next returns the pause; it is 0 for the first three refusals within a minute.
func (b *backoff) next(host string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.hosts[host]
	if now.Sub(f.last) > backoffForget {
		f.count = 0
	}
	f.count, f.last = f.count+1, now
	if len(b.hosts) >= backoffHosts {
		clear(b.hosts)
	}
	b.hosts[host] = f
	if f.count <= 3 {
		return 0
	}
	return min(50*time.Millisecond<<min(f.count-4, 8), backoffMax)
}
