package api

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// startTLS runs a server whose TCP listener has TLS, with the certificate of
// net/http/httptest: it is for example.com and 127.0.0.1.
func startTLS(t *testing.T, f *fake, change func(*Config)) (*daemon, *x509.CertPool) {
	t.Helper()
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	lender.Close()
	pool := x509.NewCertPool()
	pool.AddCert(lender.Certificate())
	d := start(t, f, func(c *Config) {
		c.TLS = &tls.Config{Certificates: lender.TLS.Certificates}
		if change != nil {
			change(c)
		}
	})
	return d, pool
}

// requestTLS sends one request with a client's configuration and reads the answer.
func requestTLS(t *testing.T, d *daemon, cfg *tls.Config, text string) answer {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", d.addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Close, string(body)}
}

func TestTLSHandshake(t *testing.T) {
	t.Parallel()
	d, pool := startTLS(t, newFake(), nil)
	dial := func(cfg *tls.Config) (tls.ConnectionState, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", d.addr, cfg)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		return conn.ConnectionState(), conn.Close()
	}
	state, err := dial(&tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("with the CA: %v, version %x, protocol %q", err, state.Version, state.NegotiatedProtocol)
	}
	if state, err = dial(&tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}); err != nil || state.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v, version %x", err, state.Version)
	}
	if _, err = dial(&tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err = dial(&tls.Config{RootCAs: x509.NewCertPool()}); !errors.As(err, &unknown) {
		t.Errorf("without the CA: %v", err)
	}
	var name x509.HostnameError
	if _, err = dial(&tls.Config{RootCAs: pool, ServerName: "evil.example"}); !errors.As(err, &name) {
		t.Errorf("another name: %v", err)
	}
}

func TestTLSRequests(t *testing.T) {
	t.Parallel()
	var port string
	d, pool := startTLS(t, newFake(), func(c *Config) {
		c.AllowedHosts = func() []string { return []string{"example.com:" + port, "*.example.com:" + port} }
	})
	_, port, _ = net.SplitHostPort(d.addr)
	const token = "Authorization: Bearer " + adminToken + "\r\n"
	for _, c := range []struct {
		name, headers string
		want          int
	}{
		{"own address", "Host: " + d.addr + "\r\n" + token, 200},
		{"the certificate's name", "Host: Example.com:" + port + "\r\n" + token, 200},
		{"its wildcard", "Host: db.example.com:" + port + "\r\n" + token, 200},
		{"two labels for a wildcard", "Host: a.b.example.com:" + port + "\r\n" + token, 421},
		{"no label for a wildcard", "Host: .example.com:" + port + "\r\n" + token, 421},
		{"another port", "Host: example.com:1\r\n" + token, 421},
		{"no port", "Host: example.com\r\n" + token, 421},
		{"rebound name", "Host: evil.example:" + port + "\r\n" + token, 421},
		{"the name as a part", "Host: example.com.evil.example:" + port + "\r\n" + token, 421},
		{"no token", "Host: " + d.addr + "\r\n", 401},
		{"wrong token", "Host: " + d.addr + "\r\nAuthorization: Bearer nothing\r\n", 401},
		{"own origin", "Host: " + d.addr + "\r\nOrigin: https://" + d.addr + "\r\n" + token, 200},
		{"another origin", "Host: " + d.addr + "\r\nOrigin: https://evil.example\r\n" + token, 403},
	} {
		got := requestTLS(t, d, &tls.Config{RootCAs: pool}, "GET /api/v1/info HTTP/1.1\r\n"+c.headers+"Connection: close\r\n\r\n")
		if got.status != c.want {
			t.Errorf("%s: got %d, want %d\n%s", c.name, got.status, c.want, got.body)
		}
	}
}

// The Go client speaks to a TLS listener as to any other once its transport
// trusts the CA.
func TestTLSClient(t *testing.T) {
	t.Parallel()
	d, pool := startTLS(t, newFake(), nil)
	c := NewTCPClient("https://"+d.addr, adminToken)
	t.Cleanup(c.Close)
	if _, err := c.Info(t.Context()); !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA: %v", err)
	}
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	if _, err := c.Info(t.Context()); err != nil {
		t.Errorf("with the CA: %v", err)
	}
}

func TestPlainRequestToTLS(t *testing.T) {
	t.Parallel()
	f := newFake()
	d, _ := startTLS(t, f, nil)
	before := f.called()
	for _, path := range []string{"/api/v1/info", "/livez", "/health/main/node0/primary"} {
		got := raw(t, d, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, d.addr, adminToken))
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, "HTTP request to an HTTPS server") {
			t.Errorf("%s: %d %q", path, got.status, got.body)
		}
	}
	if f.called() != before {
		t.Error("a plain request was worked on")
	}
}

// A client that never begins the handshake, or never ends it, is let go.
func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	lender.Close()
	s := New(Config{TLS: &tls.Config{Certificates: lender.TLS.Certificates}})
	s.gate.timing.header = 200 * time.Millisecond
	d := serve(t, newFake(), s, t.TempDir()+"/s")
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("after %q the connection is still open", begin)
		}
		_ = conn.Close()
	}
}
