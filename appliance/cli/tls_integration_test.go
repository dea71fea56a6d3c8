//go:build integration

package cli_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// addAddress gives the box's network one more address, which is not of the
// loopback range; n tells it from others.
func (b *box) addAddress(n int) (ip string) {
	b.t.Helper()
	ip = fmt.Sprintf("10.77.0.%d", n)
	b.must(b.net.in(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(s) }()
		r, err := unix.NewIfreq(fmt.Sprintf("lo:%d", n))
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, r); err != nil {
			return err
		}
		// Without it, all of 10.0.0.0/8 would be this machine.
		if err := r.SetInet4Addr(net.IPv4bcast.To4()); err != nil {
			return err
		}
		return unix.IoctlIfreq(s, unix.SIOCSIFNETMASK, r)
	}))
	return ip
}

// newRemoteBox is a box with an address that other machines could reach.
func newRemoteBox(t *testing.T) (b *box, ip string) {
	t.Helper()
	b = newBox(t)
	if b.net == nil {
		t.Skip("SKIPPED: without root there is no network to give an address")
	}
	b.mayHold = append(b.mayHold, "tls")
	return b, b.addAddress(1)
}

// listenOn has the daemon start anew with that address.
func (b *box) listenOn(addr string, more ...string) appliance.Info {
	b.t.Helper()
	b.ok("shutdown")
	var info appliance.Info
	b.must(json.Unmarshal([]byte(b.ok(append([]string{"info", "-o", "json", "--listen", addr}, more...)...).out), &info))
	return info
}

// https makes a client that trusts a file of the home, or nobody.
func (b *box) https(caFile string) *http.Client {
	b.t.Helper()
	pool := x509.NewCertPool()
	if caFile != "" {
		data, err := os.ReadFile(caFile)
		b.must(err)
		if !pool.AppendCertsFromPEM(data) {
			b.t.Fatalf("%s holds no certificate", caFile)
		}
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: b.dial, TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
	}}
}

// ask makes one request, with the home's token or without, and returns its
// status, its body and the certificate it came with.
func (b *box) ask(c *http.Client, address string, token bool, host string) (status int, body string, cert *x509.Certificate, err error) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, http.NoBody)
	b.must(err)
	req.Host = host
	if token {
		secret, err := os.ReadFile(filepath.Join(b.home, "token"))
		b.must(err)
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	data, err := io.ReadAll(resp.Body)
	b.must(errors.Join(err, resp.Body.Close()))
	if resp.TLS != nil {
		cert = resp.TLS.PeerCertificates[0]
	}
	return resp.StatusCode, string(data), cert, nil
}

// reached wants the daemon's answer to a client with its CA and a token.
func (b *box) reached(info appliance.Info, base string) *x509.Certificate {
	b.t.Helper()
	status, body, cert, err := b.ask(b.https(info.CAFile), base+"/api/v1/info", true, "")
	if err != nil || status != http.StatusOK || !strings.Contains(body, `"ca_file"`) {
		b.t.Fatalf("%s: %d %s, %v\n%s", base, status, body, err, b.log())
	}
	return cert
}

// TestRemoteAPI reaches the API at an address that is not loopback.
func TestRemoteAPI(t *testing.T) {
	t.Parallel()
	b, ip := newRemoteBox(t)
	info := b.listenOn(ip + ":0")
	if !strings.HasPrefix(info.URL, "https://"+ip+":") || info.CAFile != filepath.Join(b.home, "tls", "ca.pem") {
		t.Fatalf("URL %q, CA %q", info.URL, info.CAFile)
	}
	b.reached(info, info.URL)
	u, err := url.Parse(info.URL)
	b.must(err)
	trusting := b.https(info.CAFile)
	for _, c := range []struct {
		name, path, host string
		token            bool
		want             int
	}{
		{"without a token", "/api/v1/info", "", false, http.StatusUnauthorized},
		{"a forwarded port", "/api/v1/info", ip, true, http.StatusOK},
		{"public, without a token", "/livez", "", false, http.StatusOK},
		{"rebound name", "/api/v1/info", "evil.example:" + u.Port(), true, http.StatusMisdirectedRequest},
		{"localhost, where it does not listen", "/api/v1/info", "localhost:" + u.Port(), true, http.StatusMisdirectedRequest},
	} {
		if status, body, _, err := b.ask(trusting, info.URL+c.path, c.token, c.host); err != nil || status != c.want {
			t.Errorf("%s: %d, want %d, %v\n%s", c.name, status, c.want, err, body)
		}
	}
	var unknown x509.UnknownAuthorityError
	if _, _, _, err := b.ask(b.https(""), info.URL+"/livez", false, ""); !errors.As(err, &unknown) {
		t.Errorf("a client without the CA: %v", err)
	}
	status, body, _, err := b.ask(trusting, "http://"+u.Host+"/api/v1/info", true, "")
	if err != nil || status != http.StatusBadRequest || !strings.Contains(body, "HTTP request to an HTTPS server") {
		t.Errorf("without TLS: %d %q, %v", status, body, err)
	}
	if c, err := b.dial(t.Context(), "tcp", "127.0.0.1:"+u.Port()); err == nil {
		_ = c.Close()
		t.Error("it listens on loopback too")
	}
	if text := b.ok("info").out; !strings.Contains(text, info.CAFile+" (curl --cacert)") {
		t.Errorf("info does not name the CA:\n%s", text)
	}
	b.withCurl(info)
	b.noKeys(info.CAFile)
}

// withCurl does as the help says.
func (b *box) withCurl(info appliance.Info) {
	b.t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		b.t.Log("SKIPPED: curl is not installed")
		return
	}
	out, err := b.tool("curl", "-sS", "--fail", "--cacert", info.CAFile, info.URL+"/livez").CombinedOutput()
	if err != nil {
		b.t.Errorf("curl: %v\n%s", err, out)
	}
}

// noKeys wants keys in files that only their owner reads, and in no other.
func (b *box) noKeys(caFile string) {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(caFile))
	b.must(err)
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(caFile), e.Name())
		data, err := os.ReadFile(path)
		b.must(err)
		fi, err := e.Info()
		b.must(err)
		if secret := strings.Contains(string(data), "PRIVATE KEY"); secret != (fi.Mode() == 0o600) {
			b.t.Errorf("%s: mode %v, a key in it: %v", path, fi.Mode(), secret)
		}
	}
	if log, err := os.ReadFile(filepath.Join(b.home, "pgapp.log")); err != nil || strings.Contains(string(log), "PRIVATE KEY") {
		b.t.Errorf("the log: %v, or it holds a key", err)
	}
}

// TestRemoteCertificate follows the certificate through starts, other
// addresses and a restored state.
func TestRemoteCertificate(t *testing.T) {
	t.Parallel()
	b, ip := newRemoteBox(t)
	first := b.listenOn(ip + ":0")
	ca, err := os.ReadFile(first.CAFile)
	b.must(err)
	cert := b.reached(first, first.URL)
	same := func(why string, info appliance.Info, want bool) {
		t.Helper()
		if got := b.reached(info, info.URL); got.Equal(cert) != want {
			t.Errorf("%s: the same certificate: %v, want %v", why, !want, want)
		}
		if now, err := os.ReadFile(info.CAFile); err != nil || string(now) != string(ca) {
			t.Errorf("%s: the CA changed (%v)", why, err)
		}
	}
	u, err := url.Parse(first.URL)
	b.must(err)
	same("started again", b.listenOn(u.Host), true)
	backup := filepath.Join(t.TempDir(), "backup")
	b.ok("state", "backup", "--plaintext", backup)
	b.ok("state", "restore", "--yes", backup)
	kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*"))
	for _, path := range kept {
		b.mayHold = append(b.mayHold, filepath.Base(path))
	}
	same("after a restore", first, true)
	same("another address", b.listenOn(b.addAddress(2)+":0"), false)

	all := b.listenOn("0.0.0.0:0")
	if !strings.HasPrefix(all.URL, "https://10.77.0.") {
		t.Errorf("listening on all addresses, the URL is %q", all.URL)
	}
	cert = b.reached(all, all.URL)
	u, err = url.Parse(all.URL)
	b.must(err)
	b.reached(all, "https://localhost:"+u.Port())
	b.reached(all, "https://127.0.0.1:"+u.Port())
	same("nothing new", all, true)
	// An address that the machine gets later is in the certificate at once.
	b.reached(all, "https://"+net.JoinHostPort(b.addAddress(3), u.Port()))
	same("a new address", all, false)

	loopback := b.listenOn("127.0.0.1:0")
	if status, body, _, err := b.ask(b.https(""), loopback.URL+"/api/v1/info", true, ""); err != nil || status != http.StatusOK ||
		!strings.HasPrefix(loopback.URL, "http://127.0.0.1:") || loopback.CAFile != "" {
		t.Errorf("on loopback: %+v, %d %s, %v", loopback, status, body, err)
	}
}

// TestRemoteRefused wants nothing to be served where TLS can't be.
func TestRemoteRefused(t *testing.T) {
	t.Parallel()
	b, ip := newRemoteBox(t)
	address := ip + ":8432"
	closed := func(why string) {
		t.Helper()
		if c, err := b.dial(context.WithoutCancel(t.Context()), "tcp", address); err == nil {
			_ = c.Close()
			t.Errorf("%s: something listens", why)
		}
	}
	r := b.want(appliance.ExitUsage, "info", "--listen", "10.77.0.99:8432")
	if !strings.Contains(r.err, "opening the API's address 10.77.0.99:8432") {
		t.Errorf("an address of another machine: %s", r.err)
	}
	b.want(appliance.ExitUsage, "info", "--listen", address, "--tls-cert", "/nowhere", "--tls-key", "/nowhere")
	closed("no certificate")
	info := b.listenOn(address)
	b.reached(info, "https://"+address)
	b.ok("shutdown")
	closed("after its end")
	key := filepath.Join(b.home, "tls", "ca-key.pem")
	b.must(os.Truncate(key, 10))
	r = b.want(appliance.ExitFailed, "info", "--listen", address)
	if !strings.Contains(r.err, "error[home-unusable]: the API's TLS") || !strings.Contains(r.err, filepath.Dir(key)) {
		t.Errorf("a damaged CA: %s", r.err)
	}
	closed("a damaged CA")
	// Where the CA isn't needed it does no harm.
	b.ok("info", "--listen", "127.0.0.1:0")
}
