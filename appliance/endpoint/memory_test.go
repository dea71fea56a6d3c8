package endpoint

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestAThousandIdleConnectionsNeedLittleMemory opens as many connections as an endpoint
// takes, and wants the process to hold at most 30 MB of memory of its own.
func TestAThousandIdleConnectionsNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: the race detector takes memory of its own")
	}
	t.Parallel()
	a := newMember(t, "a")
	p := newProcess(t)
	routes := routesTo(t, 1, a)
	pid := p.ensure("one", routes).PID
	for range 1000 {
		s, _ := greet(t, routes.Clusters[0].RW)
		if err := s.echoes(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kB", kb)
	if kb > 30_000 {
		t.Errorf("the process holds %d kB with a thousand idle connections, want at most 30000", kb)
	}
}
