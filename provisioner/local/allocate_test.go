package local

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

func member(name, host string, port int) appliance.Member {
	return appliance.Member{
		Name: name, Host: host, Port: port, Placement: appliance.PlacementLocal, Slot: appliance.SlotName(name),
	}
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	var everyBlock []appliance.Member
	for b := firstBlock; b <= lastBlock; b++ {
		everyBlock = append(everyBlock, member("node0", fmt.Sprintf("127.0.%d.1", b), 5432))
	}
	three := []string{"node0", "node1", "node2"}
	for _, c := range []struct {
		name  string
		r     appliance.AllocateRequest
		taken []string
		want  []appliance.Member
	}{
		{
			name: "first cluster", r: appliance.AllocateRequest{Names: three},
			want: []appliance.Member{member("node0", "127.0.122.1", 5432), member("node1", "127.0.122.101", 5432), member("node2", "127.0.122.102", 5432)},
		},
		{
			name:  "a taken port moves the whole cluster",
			r:     appliance.AllocateRequest{Names: three},
			taken: []string{"127.0.122.101:5432", "127.0.122.1:5433"},
			want:  []appliance.Member{member("node0", "127.0.122.1", 5434), member("node1", "127.0.122.101", 5434), member("node2", "127.0.122.102", 5434)},
		},
		{
			name: "a further cluster takes the next block",
			r:    appliance.AllocateRequest{Names: three[:2], Others: []appliance.Member{member("node0", "127.0.122.1", 5432), member("node0", "127.0.124.1", 5432)}},
			want: []appliance.Member{member("node0", "127.0.123.1", 5432), member("node1", "127.0.123.101", 5432)},
		},
		{
			name: "virtual machines take no block",
			r:    appliance.AllocateRequest{Names: three[:1], Others: []appliance.Member{member("node1", "192.168.122.101", 5432)}},
			want: []appliance.Member{member("node0", "127.0.122.1", 5432)},
		},
		{
			name: "when all blocks are taken ports tell clusters apart",
			r:    appliance.AllocateRequest{Names: three[:2], Others: everyBlock},
			want: []appliance.Member{member("node0", "127.0.122.1", 5433), member("node1", "127.0.122.101", 5433)},
		},
		{
			name: "a cluster grows in its block, at its port",
			r: appliance.AllocateRequest{
				Names:    []string{"node2", "node17"},
				Existing: []appliance.Member{member("node0", "127.0.130.1", 5440), member("node1", "127.0.130.101", 5440)},
				Others:   []appliance.Member{member("node0", "127.0.122.1", 5432)},
			},
			taken: []string{"127.0.130.117:5440"},
			want:  []appliance.Member{member("node2", "127.0.130.102", 5440), member("node17", "127.0.130.117", 5433)},
		},
		{
			name: "other names take what is left",
			r:    appliance.AllocateRequest{Names: []string{"db-one", "report-db", "node1", "node01", "node900"}},
			want: []appliance.Member{
				member("db-one", "127.0.122.1", 5432), member("report-db", "127.0.122.102", 5432), member("node1", "127.0.122.101", 5432),
				member("node01", "127.0.122.103", 5432), member("node900", "127.0.122.104", 5432),
			},
		},
		{
			name: "a first member of another name than node0 leaves node0 another address",
			r:    appliance.AllocateRequest{Names: []string{"node1", "node0"}},
			want: []appliance.Member{member("node1", "127.0.122.1", 5432), member("node0", "127.0.122.101", 5432)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			taken := map[string]bool{}
			for _, a := range c.taken {
				taken[a] = true
			}
			got, err := allocate(context.Background(), c.r, firstBlock, func(_ context.Context, a netip.AddrPort) bool { return taken[a.String()] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("members differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllocateWithoutPorts(t *testing.T) {
	t.Parallel()
	all := func(context.Context, netip.AddrPort) bool { return true }
	_, err := allocate(context.Background(), appliance.AllocateRequest{Names: []string{"node0"}}, firstBlock, all)
	if !appliance.IsProblem(err, appliance.ErrHostPortTaken) {
		t.Errorf("got %v, want %s", err, appliance.ErrHostPortTaken)
	}
}

// TestListens covers the ways in which something may sit on a member's port.
func TestListens(t *testing.T) {
	t.Parallel()
	for _, network := range []struct{ name, addr string }{
		{"tcp4", "127.0.0.1:0"},
		{"tcp4", "0.0.0.0:0"},
		{"tcp", "[::]:0"},
	} {
		t.Run(network.addr, func(t *testing.T) {
			t.Parallel()
			var lc net.ListenConfig
			l, err := lc.Listen(context.Background(), network.name, network.addr)
			if err != nil {
				t.Skipf("SKIPPED: this machine has no address %s: %v", network.addr, err)
			}
			port := uint16(l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener's
			at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
			if !listens(context.Background(), at) {
				t.Errorf("%s is not seen at %s", l.Addr(), at)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if listens(context.Background(), at) {
				t.Errorf("%s is seen after it has gone", at)
			}
		})
	}
}
