package rpc

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSocketDialerTriesNextSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := filepath.Join(dir, "libvirt-sock"), filepath.Join(dir, "virtqemud-sock")
	dial := SocketDialer((&net.Dialer{}).DialContext, first, second)
	if _, err := dial(t.Context()); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("nobody listens: got %v", err)
	}
	var lc net.ListenConfig
	stale, err := lc.Listen(t.Context(), "unix", first)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	if _, err := dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a socket that was left behind: got %v", err)
	}
	l, err := lc.Listen(t.Context(), "unix", second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.RemoteAddr().String(); got != second {
		t.Errorf("got %s, want %s", got, second)
	}
	_ = conn.Close()
}
