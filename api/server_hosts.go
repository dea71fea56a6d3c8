package api

import (
	"net"
	"strings"
)

// hostMatches tells whether a Host header matches an allowed value: HOST for any
// port, or HOST:PORT. A leading "*." matches one label, as in certificates.
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

// afterLabel returns a name without its first label, or "" if it has only one.
func afterLabel(host string) string {
	label, rest, _ := strings.Cut(host, ".")
	if label == "" {
		return ""
	}
	return rest
}
