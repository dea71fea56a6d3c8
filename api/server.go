package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Limits of the server. The read time-out is lifted when a request's body has
// arrived, so that it does not end long responses and streams.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 60 * time.Second
	writeTimeout      = 30 * time.Second // for one response, or one event of a stream
	maxHeaderBytes    = 16 << 10
	maxBodyBytes      = 1 << 20
	shutdownGrace     = 5 * time.Second
	heartbeat         = 15 * time.Second
)

// Config configures a server.
type Config struct {
	Service    Service
	Logs       Logs
	Operations Operations
	// Tokens authenticates callers over TCP. With nil, all tokens are invalid.
	Tokens Tokens
	// TokenAdmin may be nil: then tokens can't be made or revoked through the API.
	TokenAdmin TokenAdmin
	// Idempotency may be nil: then Idempotency-Key is refused.
	Idempotency Idempotency
	Logger      *slog.Logger
	// AllowedHosts returns further values of the Host header that are accepted
	// over TCP, as host or host:port. A host without a port matches any port;
	// a leading "*." matches one label. The listener's own address, and localhost
	// for a loopback listener, are always accepted.
	AllowedHosts func() []string
	// TLS is the TCP listener's. With nil, only loopback addresses are served.
	TLS *tls.Config
	// Shutdown is called by POST /shutdown and must not block.
	Shutdown func()
	// DaemonLogs writes the daemon's own log; with follow it returns when ctx
	// ends. It may be nil.
	DaemonLogs func(ctx context.Context, follow bool, w io.Writer) error
	// Ready returns nil while the daemon can work, for /readyz. It may be nil.
	Ready func(ctx context.Context) error
	// State may be nil: then the state can't be managed through the API. It is
	// used in recovery too.
	State State
	// Adopter may be nil.
	Adopter Adopter
	// Pauses may be nil: then what pgapp does by itself can't be paused.
	Pauses Pauses
	// Machines may be nil.
	Machines Machines
	// Benches may be nil.
	Benches Benches
	// SQLFiles may be nil: then clients can't upload SQL.
	SQLFiles SQLFiles
	// Held, if set, returns a problem while the state is being replaced. Requests
	// are then refused with that problem.
	Held func() *appliance.Problem
	// Recovery, if set, is the reason for which the state can't be used. Then
	// only routes that work without a state are served.
	Recovery *appliance.Problem
	// MaxStreams limits open event and log streams (default 64); further ones
	// are refused. MaxConcurrent limits other requests (default 64); further
	// ones wait.
	MaxStreams    int
	MaxConcurrent int
}

// Server serves the API. It is made by [New].
type Server struct {
	cfg      Config
	log      *slog.Logger
	openAPI  []byte
	handler  http.Handler
	routes   *routes
	gate     *gate
	health   observations[appliance.ClusterStatus] // for health checks, at most healthFresh old
	statuses observations[appliance.ClusterStatus]
	clusters observations[[]appliance.ClusterStatus]
	once     wait.Turns // of requests with the same Idempotency-Key
}

// gate is what a request passes before its handler: the log, the checks of host,
// origin and token, and the limits on requests, streams and bodies.
type gate struct {
	cfg     Config
	log     *slog.Logger
	uid     int
	streams chan struct{}
	slots   chan struct{}
	waiting chan struct{}
	backoff *backoff
	timing  timing
}

// timing is constant except in tests.
type timing struct{ header, read, beat time.Duration }

// New makes a server that doesn't listen yet. It panics if the routes contradict
// each other, which no input can cause.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = 64
	}
	if cfg.MaxConcurrent <= 0 {
		cfg.MaxConcurrent = 64
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, gate: newGate(cfg),
		health: observations[appliance.ClusterStatus]{Fresh: healthFresh},
	}
	api, router := newRouter()
	s.routes = newRoutes(api)
	s.register(s.routes)
	doc, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		panic(fmt.Errorf("writing the OpenAPI document: %w", err))
	}
	s.openAPI = append(doc, '\n')
	s.handler = s.routes.attach(patternOf(router), s.gate.middleware(router))
	return s
}

func newGate(cfg Config) *gate {
	return &gate{
		cfg: cfg, log: cfg.Logger, uid: os.Geteuid(),
		streams: make(chan struct{}, cfg.MaxStreams),
		slots:   make(chan struct{}, cfg.MaxConcurrent),
		waiting: make(chan struct{}, 1024),
		backoff: newBackoff(),
		timing:  timing{readHeaderTimeout, readTimeout, heartbeat},
	}
}

// Serve serves both listeners until ctx ends or one fails, and closes them.
// Either may be nil. At the end, streams are closed at once and other requests
// have a few seconds to finish. Serve returns nil if ctx has ended. A TCP
// listener on another address than loopback needs Config.TLS.
func (s *Server) Serve(ctx context.Context, unix, tcp net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var servers []*http.Server
	var wg sync.WaitGroup
	start := func(l net.Listener, info connInfo) {
		srv := s.httpServer(ctx, info)
		servers = append(servers, srv)
		wg.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serving the API on %s: %w", l.Addr(), err))
			}
		})
	}
	if tcp != nil {
		l, info, err := s.wrapTCP(tcp)
		if err != nil {
			return errors.Join(err, closeAll(unix, tcp))
		}
		start(l, info)
	}
	if unix != nil {
		start(unix, connInfo{unix: true})
	}
	<-ctx.Done()
	err := context.Cause(ctx)
	s.shutdown(context.WithoutCancel(ctx), servers)
	wg.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func closeAll(ls ...net.Listener) error {
	var errs []error
	for _, l := range ls {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *Server) httpServer(ctx context.Context, info connInfo) *http.Server {
	info.stop = ctx.Done()
	// Requests may outlive ctx by shutdownGrace.
	base := context.WithoutCancel(ctx)
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.gate.timing.header,
		ReadTimeout:       s.gate.timing.read,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			own := info
			if own.unix {
				own.uid, own.err = peerUID(c)
			}
			return context.WithValue(ctx, connKey{}, own)
		},
	}
}

func (s *Server) shutdown(ctx context.Context, servers []*http.Server) {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				s.log.Warn("requests were cut off at shutdown", "error", err, "close", srv.Close())
			}
		})
	}
	wg.Wait()
}

// wrapTCP adds TLS. It refuses a listener that would send tokens unencrypted
// over a network.
func (s *Server) wrapTCP(l net.Listener) (net.Listener, connInfo, error) {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, connInfo{}, fmt.Errorf("serving the API: %s is not a TCP address", l.Addr())
	}
	info := connInfo{addr: addr}
	if s.cfg.TLS == nil {
		if !addr.IP.IsLoopback() {
			return nil, info, appliance.NewProblem(appliance.ErrUsage, "listening on %s, which is not a loopback address, needs TLS", addr).
				WithHint("use --listen 127.0.0.1:%d", addr.Port)
		}
		return l, info, nil
	}
	info.tls = true
	cfg := s.cfg.TLS.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.MinVersion < tls.VersionTLS12 {
		cfg.MinVersion = tls.VersionTLS12
	}
	return tls.NewListener(l, cfg), info, nil
}

// connInfo describes a connection.
type connInfo struct {
	unix bool
	uid  int
	err  error
	addr *net.TCPAddr // of the listener
	tls  bool
	stop <-chan struct{} // closed when the server stops
}

type connKey struct{}

// connOf returns the request's connection. A request without one has no rights.
func connOf(ctx context.Context) connInfo {
	info, ok := ctx.Value(connKey{}).(connInfo)
	if !ok {
		info.err = errors.New("the connection is unknown")
	}
	return info
}
