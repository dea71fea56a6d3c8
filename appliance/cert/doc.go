// Package cert has the certificate of the API's TLS listener: one that a CA of
// pgapp's own signed, kept in the home and renewed by itself, or one that the
// user gave as files, read again when they change.
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

// Options are the surroundings; the zero value is fit for use.
type Options struct {
	// Now is the clock, time.Now where it is nil.
	Now func() time.Time
	// Log hears of renewals. It may be nil.
	Log *slog.Logger
}

// current is the certificate that is served at the moment.
type current struct {
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	cert *tls.Certificate // with its Leaf
}

// fill puts in place what the options leave out.
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

// Names are the host names, of which some may begin with "*.", and the
// addresses that the certificate stands for at the moment.
func (c *current) Names() []string { return namesOf(c.leaf()) }

// Covers tells whether a client that was given host, a name or an address,
// accepts the certificate.
func (c *current) Covers(host string) bool { return c.leaf().VerifyHostname(host) == nil }

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// canonical brings names into the one form that certificates have, sorted and
// each once.
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

// split parts names from addresses.
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
