package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
)

type listeners struct {
	unix net.Listener
	tcp  net.Listener
	// certs are nil where the TCP listener has no TLS.
	certs certificates
	// host is what clients are told to connect to.
	host string
}

func (l listeners) port() string { return strconv.Itoa(l.tcp.Addr().(*net.TCPAddr).Port) }

func (l listeners) url() string {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(l.host, l.port())}
	if l.certs != nil {
		u.Scheme = "https"
	}
	return u.String()
}

func (l listeners) close() {
	_ = l.unix.Close()
	_ = l.tcp.Close()
}

// openListeners opens both. The home's lock is held, so an existing socket is that
// of a daemon that has ended.
func (s *server) openListeners(ctx context.Context, log *slog.Logger) (l listeners, err error) {
	if l.tcp, err = s.listenTCP(ctx); err != nil {
		return l, err
	}
	if err = s.protect(&l, log); err == nil {
		l.unix, err = listenUnix(ctx, s.Home)
	}
	if err != nil {
		_ = l.tcp.Close()
	}
	return l, err
}

func (s *server) listenTCP(ctx context.Context) (net.Listener, error) {
	addr := s.Listen
	if addr == "" {
		addr = program.DefaultListen
	}
	if err := program.CheckListen(addr); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if s.Listen == "" && errors.Is(err, syscall.EADDRINUSE) {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		id := appliance.AsProblem(err).ID
		var lookup *net.DNSError
		if errors.As(err, &lookup) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			id = appliance.ErrUsage // no address of this machine
		}
		return nil, appliance.NewProblem(id, "opening the API's address %s: %w", addr, err).
			WithHint("choose another with --listen HOST:PORT; port 0 takes a free one")
	}
	return l, nil
}

// listenUnix makes the socket in the home. A path longer than the kernel's 107
// bytes is reached through the directory's descriptor.
func listenUnix(ctx context.Context, dir string) (net.Listener, error) {
	path := filepath.Join(dir, home.Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	handle, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the home: %w", err)
	}
	defer func() { _ = handle.Close() }()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", handle.Fd(), home.Socket))
	if err != nil {
		return nil, fmt.Errorf("opening the socket %s: %w", path, err)
	}
	// The listener's address names a descriptor that is closed here. The next
	// daemon removes the socket by its path.
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("protecting the socket %s: %w", path, err)
	}
	return l, nil
}
