package api

import (
	"net"
	"strings"
)

// NewTCPClient makes a client for a daemon at a URL such as
// http://127.0.0.1:8432, with a token. It does no I/O.
func NewTCPClient(url, token string) *Client {
	d := &net.Dialer{Timeout: dialTimeout}
	return newClient(strings.TrimSuffix(url, "/"), token, url, d.DialContext)
}

// Close closes idle connections, so that a test leaves no goroutine.
func (c *Client) Close() { c.http.CloseIdleConnections() }
