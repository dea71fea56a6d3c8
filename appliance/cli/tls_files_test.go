package cli_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// writePair writes NAME.crt and NAME.key, which sign themselves, and returns
// the certificate. change may alter it.
func writePair(t *testing.T, dir, name string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		DNSNames: []string{"db.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(ext, kind string, data []byte) error {
		return os.WriteFile(filepath.Join(dir, name+ext), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600)
	}
	if err := errors.Join(write(".crt", "CERTIFICATE", der), write(".key", "PRIVATE KEY", keyDER)); err != nil {
		t.Fatal(err)
	}
	return cert
}

// program runs the program in a directory; what else there is in the
// environment does not count.
func program(t *testing.T, dir, home string, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "pgapp", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+home, "PGAPP_LISTEN=127.0.0.1:0")
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// The daemon, started by its client, serves what was given, also on loopback.
func TestGivenCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	pool := x509.NewCertPool()
	pool.AddCert(writePair(t, dir, "db", nil))
	t.Cleanup(func() { endDaemon(t, home) })
	code, out, errs := program(t, dir, home, "info", "-o", "json", "--tls-cert", "db.crt", "--tls-key", "db.key")
	var info appliance.Info
	if err := json.Unmarshal([]byte(out), &info); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	address, named := strings.CutPrefix(info.URL, "https://db.example.org:")
	if !named || info.CAFile != "" {
		t.Fatalf("URL %q, CA %q, want https, the certificate's name and no CA of pgapp's", info.URL, info.CAFile)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", "127.0.0.1:"+address)
		},
		DisableKeepAlives: true,
	}}
	for url, want := range map[string]int{info.URL + "/livez": http.StatusOK, info.URL + "/api/v1/info": http.StatusUnauthorized} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != want {
			t.Errorf("%s: %d, want %d, %v", url, resp.StatusCode, want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "tls")); err == nil {
		t.Error("a CA was made that nobody needs")
	}
}

func TestBadCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	writePair(t, dir, "db", nil)
	writePair(t, dir, "other", nil)
	writePair(t, dir, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for _, c := range []struct{ name, cert, key, want string }{
		{"no certificate", "none.crt", "db.key", "none.crt: no such file"},
		{"no key", "db.crt", "none.key", "none.key: no such file"},
		{"another's key", "db.crt", "other.key", "does not match"},
		{"expired", "old.crt", "old.key", "expired on"},
		{"a directory", ".", "db.key", "is not a file"},
		{"one alone", "db.crt", "", "given together"},
	} {
		code, out, errs := program(t, dir, home, "serve", "--tls-cert", c.cert, "--tls-key", c.key)
		if code != appliance.ExitUsage || out != "" || !strings.HasPrefix(errs, "error[usage]: --tls-cert and --tls-key") || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.name, code, appliance.ExitUsage, c.want, out, errs)
		}
		if _, err := os.Stat(home); err == nil {
			t.Fatalf("%s: the home was made", c.name)
		}
	}
	// So it ends where a client starts the daemon.
	code, _, errs := program(t, dir, home, "ps", "--tls-cert", "old.crt", "--tls-key", "old.key")
	if code != appliance.ExitUsage || !strings.Contains(errs, "expired on") {
		t.Errorf("started by a client: exit code %d\n%s", code, errs)
	}
}
