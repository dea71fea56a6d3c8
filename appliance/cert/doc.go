// Package cert provides the certificate of the API's TLS listener: one signed
// by pgapp's own CA, kept in the home and renewed automatically, or one that
// the user gives as files, reloaded when they change.
package cert

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options are optional settings; the zero value is ready to use.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log receives a record of each renewal; it may be nil.
	Log *slog.Logger
}

// current is the certificate that is served now.
type current struct {
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	cert *tls.Certificate // with its Leaf
}

// fill takes the options, with defaults for what is nil.
func (c *current) fill(o Options) {
	c.now, c.log = o.Now, o.Log
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
}

func (c *current) leaf() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert.Leaf
}

// Names returns the host names, which may begin with "*.", and the addresses of
// the present certificate.
func (c *current) Names() []string { return namesOf(c.leaf()) }

// Covers tells whether a client that connects to host, a name or an address,
// accepts the certificate.
func (c *current) Covers(host string) bool { return c.leaf().VerifyHostname(host) == nil }

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// canonical returns the names in the form of a certificate, sorted, without
// duplicates.
func canonical(names []string) []string {
	var out []string
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			n = ip.Unmap().WithZone("").String()
		}
		if n != "" {
			out = append(out, strings.ToLower(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// split separates host names from addresses.
func split(names []string) (hosts []string, addresses []net.IP) {
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			addresses = append(addresses, ip.AsSlice())
		} else {
			hosts = append(hosts, n)
		}
	}
	return hosts, addresses
}
