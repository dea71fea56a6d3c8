//go:build integration

package cli_test

import (
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestSSHToAProcess asks to log in to what is no machine.
func TestSSHToAProcess(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "0", "--dataset", "none")
	r := b.want(appliance.ExitUsage, "ssh", "node0")
	if !strings.Contains(r.err, "node0 is a process on this machine") || !strings.Contains(r.err, b.home+"/clusters/main/node0/data") {
		t.Errorf("it says %q", r.err)
	}
	b.want(appliance.ExitNotFound, "ssh", "node7")
}
