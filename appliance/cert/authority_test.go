package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a directory, a clock and the names that are asked for.
type world struct {
	t     *testing.T
	dir   string
	now   time.Time
	names []string
	log   bytes.Buffer
}

func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	return &world{t: t, dir: filepath.Join(t.TempDir(), "tls"), now: time.Now(), names: names}
}

func (w *world) options() Options {
	return Options{Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
}

func (w *world) open() *Authority {
	w.t.Helper()
	a, err := Open(w.dir, func() []string { return w.names }, w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// serial tells certificates apart.
func serial(c *tls.Certificate) string { return c.Leaf.SerialNumber.String() }

// local is a connection that came to an address.
type local struct {
	net.Conn
	ip net.IP
}

func (l local) LocalAddr() net.Addr { return &net.TCPAddr{IP: l.ip, Port: 8432} }

func (w *world) served(a *Authority, ip string) *tls.Certificate {
	w.t.Helper()
	hello := &tls.ClientHelloInfo{}
	if ip != "" {
		hello.Conn = local{ip: net.ParseIP(ip)}
	}
	c, err := a.GetCertificate(hello)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// trusts tells whether a client that has the CA's file accepts the certificate.
func (w *world) trusts(a *Authority, c *tls.Certificate, host string) error {
	w.t.Helper()
	data, err := os.ReadFile(a.CAFile())
	if err != nil {
		w.t.Fatal(err)
	}
	if bytes.Contains(data, []byte("PRIVATE")) {
		w.t.Error("the clients' file holds a key")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		w.t.Fatal("no certificate in the CA's file")
	}
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: w.now})
	return err
}

func TestOpenMakesAuthority(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.0.0.5", "DB.lan", "fd00::1", "10.0.0.5", "")
	a := w.open()
	if got, want := a.Names(), []string{"db.lan", "10.0.0.5", "fd00::1"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	c := w.served(a, "10.0.0.5")
	for host, want := range map[string]bool{"10.0.0.5": true, "db.lan": true, "fd00::1": true, "10.0.0.6": false, "evil.example": false} {
		if err := w.trusts(a, c, host); (err == nil) != want || a.Covers(host) != want {
			t.Errorf("%s: %v, covers %v, want %v", host, err, a.Covers(host), want)
		}
	}
	if days := c.Leaf.NotAfter.Sub(w.now).Hours() / 24; days < 364 || days > 366 {
		t.Errorf("the certificate holds %v days", days)
	}
	if days := a.ca.Leaf.NotAfter.Sub(w.now).Hours() / 24; days < 3651 || days > 3654 {
		t.Errorf("the CA holds %v days", days)
	}
	for name, want := range map[string]os.FileMode{caKeyName: 0o600, serverName: 0o600, caName: 0o644} {
		if fi, err := os.Stat(filepath.Join(w.dir, name)); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, fi, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "*.new")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	if again := w.open(); serial(again.cert) != serial(c) || serial(again.ca) != serial(a.ca) {
		t.Error("a second Open changed the certificate")
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for _, c := range []struct {
		name   string
		change func(*world)
		comes  string // where a client comes to, after the change
		opened bool   // whether opening again renews
		met    bool   // whether the client's coming renews
	}{
		{name: "nothing changes", change: func(*world) {}, comes: "10.0.0.5"},
		{name: "31 days left", change: func(w *world) { w.now = w.now.Add(334 * day) }},
		{name: "29 days left", change: func(w *world) { w.now = w.now.Add(336 * day) }, opened: true, met: true},
		{name: "expired", change: func(w *world) { w.now = w.now.Add(400 * day) }, opened: true, met: true},
		{name: "the clock went back", change: func(w *world) { w.now = w.now.Add(-2 * day) }, opened: true, met: true},
		{name: "another address", change: func(w *world) { w.names = []string{"10.0.0.6"} }, opened: true},
		{name: "one more address", change: func(w *world) { w.names = append(w.names, "10.0.0.6") }, comes: "10.0.0.6", opened: true, met: true},
		{name: "a client at an address of no name", change: func(*world) {}, comes: "10.0.0.7", met: true},
		{name: "a client at a loopback address", change: func(*world) {}, comes: "127.9.9.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.0.0.5")
			a := w.open()
			first, ca := serial(a.cert), serial(a.ca)
			c.change(w)
			got := w.served(a, c.comes)
			if (serial(got) != first) != c.met {
				t.Errorf("renewed for a client: %v, want %v", serial(got) != first, c.met)
			}
			if c.met && c.comes != "" && !a.Covers(c.comes) {
				t.Errorf("the new certificate is not for %s", c.comes)
			}
			if c.met && w.now.After(time.Now().Add(-time.Minute)) {
				if err := w.trusts(a, got, "10.0.0.5"); err != nil {
					t.Error(err)
				}
			}
			if err := os.Remove(filepath.Join(w.dir, serverName)); err != nil {
				t.Fatal(err)
			}
			// Opened again as it was before the client came.
			w2 := newWorld(t, "10.0.0.5")
			before := w2.open()
			c.change(w2)
			if again := w2.open(); (serial(again.cert) != serial(before.cert)) != c.opened {
				t.Errorf("renewed when opened: %v, want %v", !c.opened, c.opened)
			}
			if serial(a.ca) != ca {
				t.Error("the CA is another one")
			}
		})
	}
}

func TestFailedRenewalKeepsOldCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.0.0.5")
	a := w.open()
	first := serial(a.cert)
	block := filepath.Join(w.dir, serverName+".new")
	if err := os.MkdirAll(filepath.Join(block, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(350 * 24 * time.Hour)
	for range 3 {
		if got := serial(w.served(a, "10.0.0.5")); got != first {
			t.Fatal("a certificate was served that could not be saved")
		}
	}
	if n := strings.Count(w.log.String(), "renewing"); n != 1 {
		t.Errorf("%d messages within a minute:\n%s", n, w.log.String())
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(retryAfter)
	if got := serial(w.served(a, "10.0.0.5")); got == first {
		t.Error("the renewal was not repeated")
	}
}

func TestServerCertificateEndsWithCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.0.0.5")
	a := w.open()
	ca := serial(a.ca)
	w.now = a.ca.Leaf.NotAfter.Add(-10 * 24 * time.Hour)
	got := w.served(a, "")
	if !got.Leaf.NotAfter.Equal(a.ca.Leaf.NotAfter) {
		t.Errorf("it ends %s, the CA %s", got.Leaf.NotAfter, a.ca.Leaf.NotAfter)
	}
	if serial(w.served(a, "")) != serial(got) || serial(w.open().cert) != serial(got) {
		t.Error("renewed again, for nothing")
	}
	w.now = a.ca.Leaf.NotAfter.Add(time.Hour)
	again := w.open()
	if serial(again.ca) == ca || !strings.Contains(w.log.String(), "has expired") {
		t.Errorf("the CA that expired was kept:\n%s", w.log.String())
	}
	if err := w.trusts(again, again.cert, "10.0.0.5"); err != nil {
		t.Error(err)
	}
}

func TestOpenWithDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		damage     func(path string) error
		refused    bool // else it mends itself
	}{
		{"server's cut short", serverName, func(p string) error { return os.Truncate(p, 100) }, false},
		{"server's gone", serverName, os.Remove, false},
		{"clients' gone", caName, os.Remove, false},
		{"clients' is another", caName, func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }, false},
		{"CA cut short", caKeyName, func(p string) error { return os.Truncate(p, 500) }, true},
		{"CA empty", caKeyName, func(p string) error { return os.Truncate(p, 0) }, true},
		{"CA is a directory", caKeyName, func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, true},
		{"CA is the server's", caKeyName, func(p string) error { return os.Rename(filepath.Join(filepath.Dir(p), serverName), p) }, true},
		{"all may read the CA's key", caKeyName, func(p string) error { return os.Chmod(p, 0o644) }, false},
		{"a killed write", caKeyName, func(p string) error { return os.WriteFile(p+".new", []byte("x"), 0o600) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.0.0.5")
			ca := serial(w.open().ca)
			if err := c.damage(filepath.Join(w.dir, c.file)); err != nil {
				t.Fatal(err)
			}
			a, err := Open(w.dir, func() []string { return w.names }, w.options())
			if (err != nil) != c.refused {
				t.Fatalf("refused: %v, want %v", err, c.refused)
			}
			if c.refused {
				return
			}
			if serial(a.ca) != ca {
				t.Error("the CA is another one")
			}
			if err := w.trusts(a, a.cert, "10.0.0.5"); err != nil {
				t.Error(err)
			}
			if fi, err := os.Stat(filepath.Join(w.dir, caKeyName)); err != nil || fi.Mode() != 0o600 {
				t.Errorf("the CA's key: %v %v", fi.Mode(), err)
			}
		})
	}
}

// pair writes a certificate and its key for other programs to use.
func pair(t *testing.T, dir, name string, change func(*x509.Certificate)) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		DNSNames: []string{"*.example.org", "db.example.org"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 5)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	c, err := sign(template, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	err = errors.Join(
		os.WriteFile(certFile, certPEM(c), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func TestGetCertificateAndNamesAreConcurrent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.0.0.5")
	a := w.open()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ip := net.IPv4(10, 0, 1, byte(i))
			for range 20 {
				c, err := a.GetCertificate(&tls.ClientHelloInfo{Conn: local{ip: ip}})
				if err != nil || c.Leaf.VerifyHostname(ip.String()) != nil || !slices.Contains(a.Names(), ip.String()) {
					t.Errorf("%s: %v, names %q", ip, err, a.Names())
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(a.Names()); n != 9 {
		t.Errorf("%d names: %q", n, a.Names())
	}
}

func TestClientsAddLimitedAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.0.0.5")
	a := w.open()
	for i := range 2 * maxMet {
		w.served(a, net.IPv4(10, 0, 1, byte(i)).String())
	}
	if n := len(a.Names()); n != maxMet+1 {
		t.Errorf("%d names, want %d", n, maxMet+1)
	}
}
