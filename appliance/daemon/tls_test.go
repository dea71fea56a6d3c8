package daemon

import (
	"net"
	"slices"
	"testing"

	"pgapp/appliance/program"
)

func TestFixListenKeepsThePort(t *testing.T) {
	t.Parallel()
	at := func(ip string) *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }
	for _, c := range []struct {
		listen     string
		addr       *net.TCPAddr
		host, then string
	}{
		{"", at("127.0.0.1"), "127.0.0.1", "127.0.0.1:4711"},
		{"127.0.0.1:0", at("127.0.0.1"), "127.0.0.1", "127.0.0.1:4711"},
		{"db.lan:0", at("10.0.0.5"), "db.lan", "db.lan:4711"},
		{":0", at("::"), "", ":4711"},
		{"0.0.0.0:0", at("0.0.0.0"), "0.0.0.0", "0.0.0.0:4711"},
		{"[fd00::5]:0", at("fd00::5"), "fd00::5", "[fd00::5]:4711"},
	} {
		s := &server{Serving: program.Serving{Listen: c.listen}}
		if host, err := s.fixListen(c.addr); err != nil || host != c.host || s.Listen != c.then {
			t.Errorf("%q: %q, %q, %v, want %q, %q", c.listen, host, s.Listen, err, c.host, c.then)
		}
	}
}

// names is a certificate that is for these.
type names struct {
	certificates
	names []string
}

func (n names) Names() []string { return n.names }

func (n names) Covers(host string) bool { return slices.Contains(n.names, host) }

func TestReachable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, host, ip string
		certificate    []string
		want           string
	}{
		{"the address", "10.0.0.5", "10.0.0.5", []string{"db.lan", "10.0.0.5"}, "10.0.0.5"},
		{"the name that was given", "db.lan", "10.0.0.5", []string{"db.lan", "10.0.0.5"}, "db.lan"},
		{"a name of the certificate", "10.0.0.5", "10.0.0.5", []string{"*.example.org", "db.example.org"}, "db.example.org"},
		{"none", "10.0.0.5", "10.0.0.5", []string{"*.example.org"}, "10.0.0.5"},
		{"all addresses", "0.0.0.0", "0.0.0.0", []string{"db.example.org"}, "db.example.org"},
		{"all addresses, no host", "", "::", []string{"db.example.org"}, "db.example.org"},
	} {
		if got := reachable(names{names: c.certificate}, c.host, net.ParseIP(c.ip)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOwnNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, ip       string
		with, without  []string
		allOfTheOthers bool
	}{
		{"10.0.0.5", "10.0.0.5", []string{"10.0.0.5"}, []string{"localhost", "127.0.0.1"}, false},
		{"db.lan", "10.0.0.5", []string{"db.lan", "10.0.0.5"}, []string{"127.0.0.1"}, false},
		{"0.0.0.0", "0.0.0.0", []string{"localhost", "127.0.0.1", "::1"}, []string{"0.0.0.0"}, true},
		{"", "::", []string{"localhost", "127.0.0.1", "::1"}, []string{"::"}, true},
	} {
		want := c.with
		if c.allOfTheOthers {
			want = append(want, machineAddresses()...)
		}
		got := ownNames(c.host, net.ParseIP(c.ip))
		for _, n := range want {
			if !slices.Contains(got, n) {
				t.Errorf("%s: %q is not in %q", c.host, n, got)
			}
		}
		for _, n := range c.without {
			if slices.Contains(got, n) {
				t.Errorf("%s: %q is in %q", c.host, n, got)
			}
		}
	}
}
