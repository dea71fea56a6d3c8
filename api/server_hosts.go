package api

import (
	"net"
	"strings"
)

// hostMatches holds a Host header against an allowed one: HOST for any port, or
// HOST:PORT. "*." at the beginning stands for one label, as in certificates.
func hostMatches(allowed, header string) bool {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]") // an IPv6 address without a port
	}
	if suffix, ok := strings.CutPrefix(allowed, "*."); ok {
		allowed = suffix
		header, host = afterLabel(header), afterLabel(host)
	}
	return host != "" && (strings.EqualFold(allowed, header) || strings.EqualFold(allowed, host))
}

// afterLabel leaves out the first label of a name, or is empty where there is
// no other.
func afterLabel(host string) string {
	label, rest, _ := strings.Cut(host, ".")
	if label == "" {
		return ""
	}
	return rest
}
