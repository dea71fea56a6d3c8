package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pgapp/appliance/durable"
)

const (
	// maxFile limits a file's size; chains have a few thousand bytes.
	maxFile = 1 << 20
	// lookEvery is the interval at which the files are checked for changes.
	lookEvery = 10 * time.Second
)

// Given is a certificate that the user keeps in files. It is safe for
// concurrent use.
type Given struct {
	current
	certFile, keyFile string
	stamps            [2]stamp
	looked            time.Time
}

// stamp tells one state of a file from another.
type stamp struct {
	size     int64
	modified time.Time
	file     os.FileInfo
}

// OpenFiles reads a certificate with its chain and its key, both in PEM, both
// perhaps in one file. Files that are missing or don't match, and a certificate
// that has expired or is not for servers, are errors.
func OpenFiles(certFile, keyFile string, o Options) (*Given, error) {
	g := &Given{certFile: certFile, keyFile: keyFile}
	g.fill(o)
	g.stamps, g.looked = g.look(), g.now()
	cert, err := g.load()
	if err != nil {
		return nil, err
	}
	g.cert = cert
	return g, nil
}

// GetCertificate is for [tls.Config]. It reloads the files after a change; if
// they are unusable, the old certificate stays.
func (g *Given) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.now(); now.Sub(g.looked) >= lookEvery {
		g.looked = now
		g.refresh()
	}
	return g.cert, nil
}

func (g *Given) refresh() {
	stamps := g.look()
	if stamps[0].same(g.stamps[0]) && stamps[1].same(g.stamps[1]) {
		return
	}
	g.stamps = stamps
	cert, err := g.load()
	if err != nil {
		g.log.Error("the API's changed certificate can't be used: the old one stays", "error", err)
		return
	}
	g.cert = cert
	g.log.Info("the API has a new certificate", "names", namesOf(cert.Leaf), "expires", cert.Leaf.NotAfter)
}

// look returns the files' stamps; a missing file's is zero.
func (g *Given) look() (s [2]stamp) {
	for i, f := range []string{g.certFile, g.keyFile} {
		if fi, err := os.Stat(f); err == nil {
			s[i] = stamp{fi.Size(), fi.ModTime(), fi}
		}
	}
	return s
}

func (s stamp) same(o stamp) bool {
	if s.file == nil || o.file == nil {
		return s.file == o.file
	}
	return s.size == o.size && s.modified.Equal(o.modified) && os.SameFile(s.file, o.file)
}

func (g *Given) load() (*tls.Certificate, error) {
	certs, err := read(g.certFile)
	if err != nil {
		return nil, err
	}
	key, err := read(g.keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certs, key)
	if err != nil {
		return nil, fmt.Errorf("using %q with key %q: %w", g.certFile, g.keyFile, err)
	}
	leaf, now := pair.Leaf, g.now()
	switch {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("the certificate in %q expired on %s", g.certFile, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("the certificate in %q is valid only from %s", g.certFile, leaf.NotBefore.Format(time.RFC3339))
	case !forServers(leaf):
		return nil, fmt.Errorf("the certificate in %q is not for servers: it lacks the extended key usage serverAuth", g.certFile)
	case len(namesOf(leaf)) == 0:
		return nil, fmt.Errorf("the certificate in %q names no host: it has no subject alternative names, the only names that clients check", g.certFile)
	}
	return &pair, nil
}

func forServers(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// read reads a regular file of at most maxFile bytes; another kind of file could
// block.
func read(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a file", path)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%q is larger than %d bytes", path, maxFile)
	}
	return data, err
}

// readPair reads a certificate and its key from one file, and makes the file
// private.
func readPair(path string) (*tls.Certificate, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("using %q: %w", path, err)
	}
	return &pair, nil
}

func certPEM(c *tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// save writes a certificate and its key into one file, 0600.
func save(path string, c *tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	var b bytes.Buffer
	b.Write(certPEM(c))
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return write(path, b.Bytes(), 0o600)
}

// write replaces the file atomically and durably. The next write removes the
// temporary file of a killed one.
func write(path string, data []byte, mode os.FileMode) error {
	temp := path + ".new"
	err := os.Remove(temp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return durable.SyncDir(filepath.Dir(path))
}
