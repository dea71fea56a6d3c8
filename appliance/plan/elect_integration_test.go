//go:build integration

package plan_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// otherSystem gives the member's stopped server the system identifier of another cluster,
// and WAL that reaches further than the primary's.
func (h *home) otherSystem(member string) (identifier string) {
	h.t.Helper()
	dir := h.machine(member).Layout().DataDir
	file := filepath.Join(dir, "global", "pg_control")
	data, err := os.ReadFile(file)
	h.must(err)
	table := crc32.MakeTable(crc32.Castagnoli)
	end := 0 // of what the checksum is of
	for i := 200; i < 400 && end == 0; i += 4 {
		if crc32.Checksum(data[:i], table) == binary.NativeEndian.Uint32(data[i:]) {
			end = i
		}
	}
	if end == 0 {
		h.t.Fatal("pg_control has no checksum")
	}
	other := binary.NativeEndian.Uint64(data) + 1
	binary.NativeEndian.PutUint64(data, other)
	binary.NativeEndian.PutUint32(data[end:], crc32.Checksum(data[:end], table))
	h.must(os.WriteFile(file, data, 0o600))
	out, err := h.machine(member).Run(h.t.Context(), appliance.Command{
		Argv: []string{filepath.Join(h.machine(member).Layout().BinDir, "pg_resetwal"), "-f", "-l", "0000000100000000000000F0", dir},
	})
	if err != nil || out.ExitCode != 0 {
		h.t.Fatalf("pg_resetwal: %v %+v", err, out)
	}
	h.must(os.Remove(h.signal(member))) // its first start writes the wal_level that a standby needs
	h.byHand(member)
	h.must(h.machine(member).StopServer(h.t.Context(), appliance.StopFast))
	h.must(postgres.MarkStandby(h.t.Context(), h.machine(member)))
	return strconv.FormatUint(other, 10)
}

// TestElectionLeavesAForeignSystemAlone has a standby whose data directory was swapped for
// one of another system, which reaches further than all others. It is not elected, and
// stays as it is.
func TestElectionLeavesAForeignSystemAlone(t *testing.T) {
	t.Parallel()
	h := newHome(t, 218, packed(t))
	h.create(2)
	h.sql("node0", "shop", "CREATE TABLE public.goods AS SELECT 1 AS id")
	h.replayed("node0", "node1")
	h.must(h.machine("node2").StopServer(t.Context(), appliance.StopFast))
	other := h.otherSystem("node2")
	h.byHand("node2")
	if at, end := h.sql("node2", "postgres", "SELECT pg_last_wal_replay_lsn()"), h.sql("node0", "postgres", "SELECT pg_current_wal_lsn()"); len(at) <= len(end) {
		t.Fatalf("node2 is at %s, and has to be beyond %s", at, end)
	}
	h.fence("node0")
	o := h.do(appliance.OpFailover, appliance.OperationParams{}) // node2 alone may have acknowledged a commit
	if o.State != appliance.OpFailed || o.Error.ID != appliance.ErrQuorumLost || !strings.Contains(o.Error.Message, "node2 belongs to another cluster: its system identifier is "+other) {
		t.Fatalf("the failover is %s: %v", o.State, o.Error)
	}
	h.mark("node2") // so that nothing waits for it to stream
	o = h.do(appliance.OpFailover, appliance.OperationParams{AllowDataLoss: true})
	c := h.record()
	if c.Primary != "node1" || c.Epoch != 2 {
		t.Fatalf("the primary is %s in epoch %d after %+v", c.Primary, c.Epoch, o.Error)
	}
	if got := h.sql("node1", "shop", "SELECT id FROM public.goods"); got != "1" {
		t.Errorf("the new primary has %q, want the row", got)
	}
	o = h.do(appliance.OpRejoin, appliance.OperationParams{Member: "node2"})
	if o.State != appliance.OpFailed || o.Error.ID != appliance.ErrDataDirForeign {
		t.Errorf("a rejoin of node2 is %s: %v", o.State, o.Error)
	}
	d, err := postgres.InspectDataDir(t.Context(), h.machine("node2"))
	h.must(err)
	if d.SystemIdentifier != other {
		t.Errorf("node2 has the identifier %s, want that of the other system, %s", d.SystemIdentifier, other)
	}
	h.streaming("node0")
}
