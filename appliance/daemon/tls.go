package daemon

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/cert"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
)

// certificates are what TLS listeners serve: of pgapp's own CA, or given.
type certificates interface {
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	Names() []string
	Covers(host string) bool
}

// givenCertificate reads the files that the user gave, or returns nil.
func (s *server) givenCertificate(log *slog.Logger) (*cert.Given, error) {
	if s.TLSCert == "" {
		return nil, nil
	}
	given, err := cert.OpenFiles(s.TLSCert, s.TLSKey, cert.Options{Log: log})
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key: %w", err).
			WithHint("give a certificate that is valid now and its key; without both flags pgapp makes its own")
	}
	return given, nil
}

// protect chooses the certificate of the TCP listener: the given one, none on
// a loopback address, else one of pgapp's own CA.
func (s *server) protect(l *listeners, log *slog.Logger) error {
	addr := l.tcp.Addr().(*net.TCPAddr) // of a listener on "tcp"
	host, err := s.fixListen(addr)
	if err != nil {
		return err
	}
	l.host = addr.IP.String()
	given, err := s.givenCertificate(log)
	switch {
	case err != nil:
		return err
	case given != nil:
		l.certs = given
	case addr.IP.IsLoopback():
		return nil
	default:
		names := func() []string { return ownNames(host, addr.IP) }
		own, err := cert.Open(filepath.Join(s.Home, home.TLSDir), names, cert.Options{Log: log})
		if err != nil {
			p := appliance.AsProblem(err)
			if p.ID == appliance.ErrInternal {
				p.ID = appliance.ErrHomeUnusable
			}
			return appliance.NewProblem(p.ID, "the API's TLS: %w", err).
				WithHint("remove the directory %s to have a new CA made, which clients then need", filepath.Join(s.Home, home.TLSDir))
		}
		l.certs = own
	}
	l.host = reachable(l.certs, host, addr.IP)
	return nil
}

// fixListen keeps the listener's port for the next composition, and returns the
// host that the user named.
func (s *server) fixListen(addr *net.TCPAddr) (host string, err error) {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", err
	}
	host = addr.IP.String()
	if s.Listen != "" {
		if host, _, err = net.SplitHostPort(s.Listen); err != nil {
			return "", err
		}
	}
	s.Listen = net.JoinHostPort(host, port)
	return host, nil
}

// ownNames are the names in the certificate of pgapp's own CA: the address, the host
// that the user named, and the machine's name. With a listener on all addresses they
// include each of them.
func ownNames(host string, ip net.IP) []string {
	names := []string{host}
	if machine, err := os.Hostname(); err == nil && program.ValidHost(machine) {
		names = append(names, machine)
	}
	if !ip.IsUnspecified() {
		return append(names, ip.String())
	}
	if net.ParseIP(host) != nil {
		names = names[1:] // nobody connects to 0.0.0.0
	}
	return append(append(names, "localhost", "127.0.0.1", "::1"), machineAddresses()...)
}

// machineAddresses are the addresses at which other machines may reach this one.
func machineAddresses() (out []string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a client that comes to one brings it into the certificate
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// reachable is the host in the API's URL: the first one that the certificate covers,
// or the address.
func reachable(certs certificates, host string, ip net.IP) string {
	var hosts []string
	if ip.IsUnspecified() {
		hosts = machineAddresses()
	} else {
		hosts = append(hosts, host, ip.String())
	}
	for _, n := range certs.Names() {
		if !strings.HasPrefix(n, "*.") {
			hosts = append(hosts, n)
		}
	}
	for _, h := range hosts {
		if h != "" && certs.Covers(h) {
			return h
		}
	}
	return ip.String()
}

// configure tells the API's server and its clients of the certificate.
func (l listeners) configure(cfg *api.Config) {
	if l.certs == nil {
		return
	}
	cfg.TLS = &tls.Config{GetCertificate: l.certs.GetCertificate, MinVersion: tls.VersionTLS12}
	// At any port, since a port may be forwarded.
	cfg.AllowedHosts = func() []string { return append(l.certs.Names(), l.host) }
}

// caFile is what clients need to trust the server, or empty.
func (l listeners) caFile() string {
	if own, ok := l.certs.(*cert.Authority); ok {
		return own.CAFile()
	}
	return ""
}
