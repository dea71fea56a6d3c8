package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"pgapp/appliance"
)

// defaultListen is the API's TCP address (DESIGN's contract). Where another
// daemon has it and the user named none, a free port is taken instead.
const defaultListen = "127.0.0.1:8432"

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

// openListeners opens both. The home's lock is held, so a socket that is
// there was left by a daemon that has gone.
func (a *app) openListeners(ctx context.Context, log *slog.Logger) (l listeners, err error) {
	if l.tcp, err = a.listenTCP(ctx); err != nil {
		return l, err
	}
	if err = a.protect(&l, log); err == nil {
		l.unix, err = listenUnix(ctx, a.home)
	}
	if err != nil {
		_ = l.tcp.Close()
	}
	return l, err
}

func (a *app) listenTCP(ctx context.Context) (net.Listener, error) {
	addr := a.listen
	if addr == "" {
		addr = defaultListen
	}
	if err := checkListen(addr); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if a.listen == "" && errors.Is(err, syscall.EADDRINUSE) {
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

// checkListen looks at the form only: whether the address is this machine's
// is seen when it is opened.
func checkListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return appliance.NewProblem(appliance.ErrUsage, "--listen has to be HOST:PORT: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return appliance.NewProblem(appliance.ErrUsage, "--listen: %q is not a port", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsMulticast() || err != nil && host != "" && !validHost(host) {
		return appliance.NewProblem(appliance.ErrUsage, "--listen: %q is not an address or a host name to listen on", host).
			WithHint("use 127.0.0.1:PORT for this machine alone, 0.0.0.0:PORT for all its addresses, with TLS")
	}
	return nil
}

// listenUnix makes the socket in the home. A path longer than the kernel's 107
// bytes is reached through the directory's descriptor.
func listenUnix(ctx context.Context, home string) (net.Listener, error) {
	path := filepath.Join(home, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	dir, err := os.Open(home)
	if err != nil {
		return nil, fmt.Errorf("opening the home: %w", err)
	}
	defer func() { _ = dir.Close() }()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName))
	if err != nil {
		return nil, fmt.Errorf("opening the socket %s: %w", path, err)
	}
	// The address above is that of a descriptor which closes now: the socket
	// is removed by its own path when the next daemon starts.
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("protecting the socket %s: %w", path, err)
	}
	return l, nil
}
