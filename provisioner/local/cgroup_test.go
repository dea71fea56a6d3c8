package local

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

// TestCgroupEndReportsForeignCgroup has a directory that can't be removed for
// want of permission: waiting would never help.
func TestCgroupEndReportsForeignCgroup(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may remove everything, and so this needs an ordinary user")
	}
	parent := t.TempDir()
	g := cgroup{filepath.Join(parent, "pgapp-x")}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(parent, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(parent, 0o755) })
	if err := g.end(testContext(t)); !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Errorf("end() = %v", err)
	}
}
