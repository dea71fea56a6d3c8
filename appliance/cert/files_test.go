package cert

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOpenFilesRefusesBadPairs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, goodKey := pair(t, dir, "good", nil)
	_, otherKey := pair(t, dir, "other", nil)
	made := func(name string, change func(*x509.Certificate)) [2]string {
		c, k := pair(t, dir, name, change)
		return [2]string{c, k}
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files [2]string
		want  string
	}{
		{"good", [2]string{good, goodKey}, ""},
		{"client and server", made("both", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		}), ""},
		{"no extended key usage", made("free", func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ""},
		{"no certificate", [2]string{filepath.Join(dir, "none"), goodKey}, "no such file"},
		{"no key", [2]string{good, filepath.Join(dir, "none")}, "no such file"},
		{"another's key", [2]string{good, otherKey}, "does not match"},
		{"the wrong way round", [2]string{goodKey, good}, "find certificate PEM data"},
		{"a directory", [2]string{dir, goodKey}, "not a file"},
		{"a pipe", [2]string{fifo, goodKey}, "not a file"},
		{"a device", [2]string{"/dev/zero", goodKey}, "not a file"},
		{"too large", [2]string{file("large", strings.Repeat("a", maxFile+1)), goodKey}, "larger than"},
		{"empty", [2]string{file("empty", ""), goodKey}, "find any PEM data"},
		{"expired", made("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired on"},
		{"not yet", made("young", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "valid only from"},
		{"for clients", made("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "not for servers"},
		{"no names", made("nameless", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }), "names no host"},
	} {
		g, err := OpenFiles(c.files[0], c.files[1], Options{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "":
			if got, err := g.GetCertificate(nil); err != nil || got.Leaf == nil {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		case strings.Contains(err.Error(), "PRIVATE"):
			t.Errorf("%s: a key is in the error: %v", c.name, err)
		}
	}
}

func TestGivenCoversItsNames(t *testing.T) {
	t.Parallel()
	certFile, keyFile := pair(t, t.TempDir(), "a", nil)
	g, err := OpenFiles(certFile, keyFile, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := g.Names(), []string{"*.example.org", "db.example.org", "10.0.0.5"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for host, want := range map[string]bool{"db.example.org": true, "x.example.org": true, "10.0.0.5": true, "a.b.example.org": false, "10.0.0.6": false} {
		if g.Covers(host) != want {
			t.Errorf("covers %s: %v, want %v", host, !want, want)
		}
	}
}

func TestGivenServesChangedFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	certFile, keyFile := pair(t, dir, "served", nil)
	g, err := OpenFiles(certFile, keyFile, w.options())
	if err != nil {
		t.Fatal(err)
	}
	served := func() string {
		c, err := g.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return serial(c)
	}
	first := served()
	newCert, newKey := pair(t, dir, "new", nil)
	replace := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(lookEvery)
	}
	replace(newCert, certFile)
	for range 2 {
		w.now = w.now.Add(lookEvery)
		if served() != first {
			t.Fatal("a certificate is served whose key is another's")
		}
	}
	if n := strings.Count(w.log.String(), "the old one stays"); n != 1 {
		t.Errorf("%d messages about one change:\n%s", n, w.log.String())
	}
	replace(newKey, keyFile)
	second := served()
	if second == first {
		t.Error("the new pair is not served")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(lookEvery)
	if served() != second {
		t.Error("a certificate whose file is gone is no longer served")
	}
}
