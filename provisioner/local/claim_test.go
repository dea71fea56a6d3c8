package local

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"pgapp/appliance"
)

// TestTwoHomesChooseDifferentPorts has providers of different homes choose before any
// server listens.
func TestTwoHomesChooseDifferentPorts(t *testing.T) {
	t.Parallel()
	const block = 249 // no other test's
	seen := map[string]string{}
	for _, home := range []string{"a", "b", "c"} {
		p := New(Config{Home: t.TempDir(), FirstBlock: block})
		var before string
		for range 2 { // a repeat chooses the same
			got, err := p.Allocate(t.Context(), appliance.AllocateRequest{Names: []string{"node0", "node1"}})
			if err != nil {
				t.Fatal(err)
			}
			now := fmt.Sprint(got)
			if before != "" && now != before {
				t.Errorf("home %s: a repeat chose %s after %s", home, now, before)
			}
			before = now
			for _, m := range got {
				at := net.JoinHostPort(m.Host, fmt.Sprint(m.Port))
				if was := seen[at]; was != "" && was != home {
					t.Errorf("homes %s and %s have both chosen %s", was, home, at)
				}
				seen[at] = home
			}
		}
		t.Cleanup(func() {
			for at := range p.claims.held {
				p.claims.drop(at)
			}
		})
	}
}

// A claim of an address that turns out to be taken is given up.
func TestClaimOfATakenAddressIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.248.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	p, other := New(Config{Home: t.TempDir()}), New(Config{Home: t.TempDir()})
	if !p.taken(t.Context(), at) {
		t.Errorf("%s is not seen as taken", at)
	}
	_ = l.Close()
	if other.taken(t.Context(), at) {
		t.Errorf("%s is still claimed", at)
	}
	if !p.taken(t.Context(), at) {
		t.Errorf("%s was chosen twice", at)
	}
	other.claims.drop(at)
}
