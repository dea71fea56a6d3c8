package cli

import (
	"net"
	"slices"
	"testing"

	"pgapp/appliance"
)

func TestCheckListen(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:8432": true, "127.0.0.1:0": true, "localhost:8432": true, "[::1]:8432": true, ":8432": true,
		"0.0.0.0:8432": true, "[::]:8432": true, "10.0.0.5:443": true, "[fd00::5]:8432": true, "[fe80::1%eth0]:8432": true,
		"db.example.org:8432": true, "db-1:8432": true,
		"": false, "8432": false, "10.0.0.5": false, "10.0.0.5:": false, "10.0.0.5:65536": false, "10.0.0.5:-1": false, "10.0.0.5:http": false,
		"fd00::5:8432": false, "010.0.0.1:8432": false, "10.0.0.256:8432": false, "10.0.0:8432": false, "224.0.0.1:8432": false,
		"[ff02::1]:8432": false, "a b:8432": false, "-a:8432": false, "a-:8432": false, "a_b:8432": false, "a..b:8432": false, "é:8432": false,
		"$(id):8432": false, "a\n:8432": false, "user@host:8432": false, "host/path:8432": false, "*:8432": false, "*.example.org:8432": false,
	} {
		if err := checkListen(addr); (err == nil) != want || err != nil && !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%q: %v, want it accepted: %v", addr, err, want)
		}
	}
}

func TestListenAgain(t *testing.T) {
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
		a := &app{listen: c.listen}
		if host, err := a.fixListen(c.addr); err != nil || host != c.host || a.listen != c.then {
			t.Errorf("%q: %q, %q, %v, want %q, %q", c.listen, host, a.listen, err, c.host, c.then)
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
