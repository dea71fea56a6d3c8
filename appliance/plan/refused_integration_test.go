//go:build integration

package plan_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestSwitchoverWaitsForBaseBackup has the primary send a base backup, which a switchover
// would end.
func TestSwitchoverWaitsForBaseBackup(t *testing.T) {
	t.Parallel()
	h := newHome(t, 210, packed(t))
	h.create(1)
	m, secrets := h.record().PrimaryMember(), h.secrets()
	backup := exec.CommandContext(t.Context(), filepath.Join(h.pgbin, "pg_basebackup"), "-D", filepath.Join(t.TempDir(), "copy"),
		"-h", m.Host, "-p", strconv.Itoa(m.Port), "-U", "replicator", "-X", "none", "-c", "fast", "--max-rate", "32k")
	backup.Env = append(os.Environ(), "PGPASSWORD="+secrets.Get(appliance.SecretReplicator).Reveal())
	h.must(backup.Start())
	h.eventually("a base backup runs", func() bool {
		return h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_progress_basebackup") == "1"
	})
	o := h.do(appliance.OpSwitchover, appliance.OperationParams{})
	if o.State != appliance.OpFailed || o.Error.ID != appliance.ErrNoCandidate || !strings.Contains(o.Error.Message, "node1 has to wait, since the primary sends a base backup") {
		t.Errorf("the switchover is %s: %v", o.State, o.Error)
	}
	if c := h.record(); c.Primary != "node0" || h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_progress_basebackup") != "1" {
		t.Errorf("the primary is %s, and the base backup was ended", c.Primary)
	}
	h.must(backup.Process.Kill())
	_ = backup.Wait() // it was killed
	h.eventually("no base backup runs", func() bool {
		return h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_progress_basebackup") == "0"
	})
	h.succeeded(h.do(appliance.OpSwitchover, appliance.OperationParams{}))

	t.Log("another cluster's directory in a member's place")
	mc := h.machine("node0")
	dir := mc.Layout().DataDir
	h.must(mc.StopServer(t.Context(), appliance.StopFast))
	h.must(os.Rename(dir, dir+".away"))
	_, err := mc.Run(t.Context(), appliance.Command{Argv: []string{filepath.Join(mc.Layout().BinDir, "initdb"), "-D", dir, "-A", "trust", "--no-sync"}})
	h.must(err)
	before := h.dataDir("node0")
	for _, kind := range []appliance.OperationKind{appliance.OpStart, appliance.OpRejoin} {
		if kind == appliance.OpRejoin {
			h.mark("node0")
		}
		if o := h.do(kind, appliance.OperationParams{Member: "node0"}); o.State != appliance.OpFailed || o.Error.ID != appliance.ErrDataDirForeign {
			t.Errorf("%s of node0 is %s: %v", kind, o.State, o.Error)
		}
	}
	if !os.SameFile(before, h.dataDir("node0")) {
		t.Error("the other cluster's directory was replaced")
	}
	h.must(os.Rename(dir, dir+".other"))
	h.must(os.Rename(dir+".away", dir))
	h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{Member: "node0"}))
	h.streaming("node0")
	h.must(os.RemoveAll(dir + ".other"))
}
