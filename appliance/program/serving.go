package program

import (
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// DefaultListen is the API's TCP address (DESIGN's contract). Where another
// daemon has it and the user named none, a free port is taken instead.
const DefaultListen = "127.0.0.1:8432"

// Serving is what serve is asked for.
type Serving struct {
	// Home is the directory of the state, absolute.
	Home string
	// Listen is the API's TCP address, HOST:PORT, or empty for [DefaultListen].
	Listen string
	// TLSCert and TLSKey are the files that the user gave, absolute, or empty.
	TLSCert, TLSKey string
	// Err gets readable lines of the log where a person started the daemon.
	Err io.Writer
}

// CheckListen looks at the form only: whether the address is this machine's
// is seen when it is opened.
func CheckListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return appliance.NewProblem(appliance.ErrUsage, "--listen has to be HOST:PORT: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return appliance.NewProblem(appliance.ErrUsage, "--listen: %q is not a port", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsMulticast() || err != nil && host != "" && !ValidHost(host) {
		return appliance.NewProblem(appliance.ErrUsage, "--listen: %q is not an address or a host name to listen on", host).
			WithHint("use 127.0.0.1:PORT for this machine alone, 0.0.0.0:PORT for all its addresses, with TLS")
	}
	return nil
}

// ValidHost tells whether host has the form of a host's name. One that ends
// in a number would be an address.
func ValidHost(host string) bool {
	const label = `[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
	ok, err := regexp.MatchString(`^(`+label+`\.)*`+label+`$`, host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	return err == nil && ok && len(host) <= 253 && strings.Trim(last, "0123456789") != ""
}
