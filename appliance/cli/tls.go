package cli

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/cert"
)

// tlsDir holds the API's CA and certificate in the home.
const tlsDir = "tls"

// certificates are what TLS listeners serve: of pgapp's own CA, or given.
type certificates interface {
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	Names() []string
	Covers(host string) bool
}

// tlsFiles are the files that the user gave, or empty.
type tlsFiles struct{ cert, key string }

func (a *app) listenFlags(f *pflag.FlagSet) {
	f.StringVar(&a.listen, "listen", "", "TCP address of the daemon's API, where this command starts it (default 127.0.0.1:8432)")
	f.StringVar(&a.tls.cert, "tls-cert", "", "certificate of that address, PEM with its chain (default: off loopback, one of pgapp's own CA)")
	f.StringVar(&a.tls.key, "tls-key", "", "key of --tls-cert, PEM")
}

// prepareListen checks the flags of the API's address. The files are looked at
// by the daemon that is to serve them.
func (a *app) prepareListen() error {
	if a.listen != "" {
		if err := checkListen(a.listen); err != nil {
			return err
		}
	}
	if (a.tls.cert == "") != (a.tls.key == "") {
		return appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key have to be given together")
	}
	for _, path := range []*string{&a.tls.cert, &a.tls.key} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path) // the daemon works elsewhere
		if err != nil {
			return appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key: %w", err)
		}
		*path = abs
	}
	return nil
}

// listenArgs hands the flags on to the daemon.
func (a *app) listenArgs() (args []string) {
	if a.listen != "" {
		args = append(args, "--listen", a.listen)
	}
	if a.tls.cert != "" {
		args = append(args, "--tls-cert", a.tls.cert, "--tls-key", a.tls.key)
	}
	return args
}

// givenCertificate reads the files that the user gave, or returns nil.
func (a *app) givenCertificate(log *slog.Logger) (*cert.Given, error) {
	if a.tls.cert == "" {
		return nil, nil
	}
	given, err := cert.OpenFiles(a.tls.cert, a.tls.key, cert.Options{Log: log})
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key: %w", err).
			WithHint("give a certificate that is valid now and its key; without both flags pgapp makes its own")
	}
	return given, nil
}

// protect chooses the certificate of the TCP listener: the given one, none on
// a loopback address, else one of pgapp's own CA.
func (a *app) protect(l *listeners, log *slog.Logger) error {
	addr := l.tcp.Addr().(*net.TCPAddr) // of a listener on "tcp"
	host, err := a.fixListen(addr)
	if err != nil {
		return err
	}
	l.host = addr.IP.String()
	given, err := a.givenCertificate(log)
	switch {
	case err != nil:
		return err
	case given != nil:
		l.certs = given
	case addr.IP.IsLoopback():
		return nil
	default:
		names := func() []string { return ownNames(host, addr.IP) }
		own, err := cert.Open(filepath.Join(a.home, tlsDir), names, cert.Options{Log: log})
		if err != nil {
			p := appliance.AsProblem(err)
			if p.ID == appliance.ErrInternal {
				p.ID = appliance.ErrHomeUnusable
			}
			return appliance.NewProblem(p.ID, "the API's TLS: %w", err).
				WithHint("without the directory %s a new CA is made, which clients then need", filepath.Join(a.home, tlsDir))
		}
		l.certs = own
	}
	l.host = reachable(l.certs, host, addr.IP)
	return nil
}

// fixListen has a daemon that begins anew listen where it does now, and
// returns the host that the user named.
func (a *app) fixListen(addr *net.TCPAddr) (host string, err error) {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", err
	}
	host = addr.IP.String()
	if a.listen != "" {
		if host, _, err = net.SplitHostPort(a.listen); err != nil {
			return "", err
		}
	}
	a.listen = net.JoinHostPort(host, port)
	return host, nil
}

// ownNames are what the certificate of pgapp's own CA stands for: the address
// and the name it was given as, and the machine's name; where it listens on all
// addresses, those too.
func ownNames(host string, ip net.IP) []string {
	names := []string{host}
	if machine, err := os.Hostname(); err == nil && validHost(machine) {
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

// machineAddresses are those at which others may reach this machine.
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

// reachable is the host that clients are told: the first that the certificate
// stands for, or the address as it is.
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
	// At any port: a forwarded one is another than ours.
	cfg.AllowedHosts = func() []string { return append(l.certs.Names(), l.host) }
}

// caFile is what clients need to trust the server, or empty.
func (l listeners) caFile() string {
	if own, ok := l.certs.(*cert.Authority); ok {
		return own.CAFile()
	}
	return ""
}

// validHost tells whether host has the form of a host's name. One that ends
// in a number would be an address.
func validHost(host string) bool {
	const label = `[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
	ok, err := regexp.MatchString(`^(`+label+`\.)*`+label+`$`, host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	return err == nil && ok && len(host) <= 253 && strings.Trim(last, "0123456789") != ""
}
