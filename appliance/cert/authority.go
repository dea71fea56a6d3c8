package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Validity of certificates, and the renewal of the server's. Clocks differ, so
// all certificates are backdated.
const (
	caYears     = 10
	serverDays  = 365
	renewBefore = 30 * 24 * time.Hour
	backdate    = time.Hour
	// retryAfter is the pause after a failed renewal.
	retryAfter = time.Minute
	// maxMet limits the addresses added for clients' connections.
	maxMet = 64
)

// The files of an authority. A certificate and its key are in one file, so that
// they match after a power cut too.
const (
	caKeyName  = "ca-key.pem" // the CA and its key, 0600
	caName     = "ca.pem"     // the CA alone, for clients
	serverName = "server.pem" // the server's certificate and key, 0600
)

// Authority is pgapp's own CA with one server certificate, which Authority
// renews. It is safe for concurrent use; a directory belongs to one Authority
// at a time.
type Authority struct {
	current
	dir   string
	names func() []string
	ca    *tls.Certificate
	met   []string // addresses that clients connected to, in addition to names
	retry time.Time
}

// Open opens or creates the CA in dir. It signs a server certificate unless one
// exists for exactly these names with 30 days left. Each renewal calls names
// again. An unusable CA is an error; an expired CA is replaced. A repeat changes
// nothing.
func Open(dir string, names func() []string, o Options) (*Authority, error) {
	a := &Authority{dir: dir, names: names}
	a.fill(o)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("making the directory of the CA: %w", err)
	}
	if err := a.openCA(); err != nil {
		return nil, err
	}
	want := canonical(names())
	old, err := readPair(filepath.Join(dir, serverName))
	if err == nil && old.Leaf.CheckSignatureFrom(a.ca.Leaf) == nil && !a.due(old.Leaf) && slices.Equal(canonical(namesOf(old.Leaf)), want) {
		a.cert = old
		return a, nil
	}
	return a, a.issue(want) // an unreadable certificate is replaced too
}

// CAFile is the file by which clients trust the server: curl --cacert.
func (a *Authority) CAFile() string { return filepath.Join(a.dir, caName) }

// GetCertificate is for [tls.Config]. It renews the certificate when less than
// 30 days are left, and when a client connects to an address of this machine
// that the certificate lacks. If the renewal fails, the old certificate stays.
func (a *Authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stranger := a.stranger(hello.Conn)
	if stranger == "" && !a.due(a.cert.Leaf) || a.now().Before(a.retry) {
		return a.cert, nil
	}
	if stranger != "" && !slices.Contains(a.met, stranger) {
		a.met = append(a.met, stranger)
	}
	if err := a.issue(canonical(append(a.names(), a.met...))); err != nil {
		a.retry = a.now().Add(retryAfter)
		a.log.Error("renewing the API's certificate", "error", err)
	}
	return a.cert, nil
}

// stranger is the connection's local address if the certificate lacks and needs
// it, else "".
func (a *Authority) stranger(c net.Conn) string {
	if c == nil {
		return ""
	}
	addr, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok || addr.IP.IsLoopback() || len(a.met) >= maxMet || a.cert.Leaf.VerifyHostname(addr.IP.String()) == nil {
		return ""
	}
	return addr.IP.String()
}

// due tells whether a server certificate needs a renewal that would extend it.
func (a *Authority) due(leaf *x509.Certificate) bool {
	now := a.now()
	return now.Before(leaf.NotBefore) || leaf.NotAfter.Sub(now) < renewBefore && leaf.NotAfter.Before(a.ca.Leaf.NotAfter)
}

func (a *Authority) openCA() error {
	path := filepath.Join(a.dir, caKeyName)
	ca, err := readPair(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = a.makeCA(path)
	case err != nil:
		return fmt.Errorf("reading the API's CA: %w", err)
	case !ca.Leaf.IsCA:
		return fmt.Errorf("reading the API's CA: the certificate in %s is not a CA's", path)
	case a.now().After(ca.Leaf.NotAfter):
		a.log.Warn("the API's CA has expired: clients need the new CA", "file", a.CAFile())
		err = a.makeCA(path)
	default:
		a.ca = ca
	}
	if err != nil {
		return err
	}
	public := certPEM(a.ca)
	if have, err := os.ReadFile(a.CAFile()); err == nil && bytes.Equal(have, public) {
		return nil
	}
	return write(a.CAFile(), public, 0o644)
}

func (a *Authority) makeCA(path string) error {
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("making the API's CA: %w", err)
	}
	now := a.now()
	ca, err := sign(&x509.Certificate{
		// The number distinguishes the CAs of several homes.
		Subject:   pkix.Name{Organization: []string{"pgapp"}, CommonName: "pgapp CA " + hex.EncodeToString(id)},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return fmt.Errorf("making the API's CA: %w", err)
	}
	a.ca = ca
	return save(path, ca)
}

// issue signs a certificate for the names, saves it and serves it.
func (a *Authority) issue(names []string) error {
	hosts, addresses := split(names)
	now := a.now()
	end := now.AddDate(0, 0, serverDays)
	if last := a.ca.Leaf.NotAfter; end.After(last) {
		end = last
	}
	leaf, err := sign(&x509.Certificate{
		Subject:  pkix.Name{Organization: []string{"pgapp"}, CommonName: "pgapp API"},
		DNSNames: hosts, IPAddresses: addresses,
		NotBefore: now.Add(-backdate), NotAfter: end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.ca)
	if err != nil {
		return fmt.Errorf("signing the API's certificate: %w", err)
	}
	if err := save(filepath.Join(a.dir, serverName), leaf); err != nil {
		return err
	}
	a.cert = leaf
	a.log.Info("the API has a new certificate", "names", names, "expires", end)
	return nil
}

// sign makes a key and its certificate, signed by ca; without ca, self-signed.
func sign(template *x509.Certificate, ca *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	parent, by := template, any(key)
	if ca != nil {
		parent, by = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
