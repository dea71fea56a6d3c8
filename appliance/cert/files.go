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
)

const (
	// maxFile bounds what is read of a file; chains take a few thousand bytes.
	maxFile = 1 << 20
	// lookEvery is how often given files are looked at for a renewal.
	lookEvery = 10 * time.Second
)

// Given is a certificate that the user keeps in files. It may be used by
// several goroutines.
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

// OpenFiles reads a certificate with its chain, and its key, both PEM; both
// may be in one file. It is an error where they are missing, don't belong
// together, have expired or are not for servers.
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

// GetCertificate is for [tls.Config]. It reads the files again when they have
// changed; where they can't be used, the old certificate goes on.
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
		g.log.Error("the API's certificate changed and can't be used: the old one goes on", "error", err)
		return
	}
	g.cert = cert
	g.log.Info("the API has a new certificate", "names", namesOf(cert.Leaf), "expires", cert.Leaf.NotAfter)
}

// look takes the files' stamps. One that isn't there has none.
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
		return nil, fmt.Errorf("the certificate in %q holds only from %s", g.certFile, leaf.NotBefore.Format(time.RFC3339))
	case !forServers(leaf):
		return nil, fmt.Errorf("the certificate in %q is not for servers: it lacks the extended key usage serverAuth", g.certFile)
	case len(namesOf(leaf)) == 0:
		return nil, fmt.Errorf("the certificate in %q names no host: clients look only at its subject alternative names", g.certFile)
	}
	return &pair, nil
}

func forServers(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// read reads a file of reasonable size. One that isn't regular could block.
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

// readPair reads a certificate and its key out of one file that nobody else
// may read.
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

// write replaces the file as a whole, and survives a power cut. What a killed
// one leaves is overwritten by the next.
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
	dir := filepath.Dir(path)
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %q: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %q: %w", dir, err)
	}
	return nil
}
