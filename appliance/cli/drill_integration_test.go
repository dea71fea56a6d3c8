//go:build integration

package cli_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// drillTimeout bounds a drill of many rounds.
const drillTimeout = 8 * time.Minute

// playDrill runs the drill, and returns its report.
func (b *box) playDrill(args ...string) (drill.Report, result) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), drillTimeout)
	defer cancel()
	cmd := b.command(ctx, append([]string{"drill", "-o", "json"}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its exit code says how it ended
	r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	var report drill.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		b.t.Fatalf("drill %q: exit code %d: %v\n%s%s\n%s", args, r.code, err, r.out, r.err, b.log())
	}
	return report, r
}

// noDrillDatabase wants the drill's database gone.
func (b *box) noDrillDatabase() {
	b.t.Helper()
	if n := b.rows("SELECT count(*) FROM pg_database WHERE datname = 'pgapp_drill'"); n != "0" {
		b.t.Errorf("the drill's database is left")
	}
}

// TestDrillTwentyRandomFaults strikes a cluster under quorum with the faults of seed 1, and
// then under writers that know the endpoints only.
func TestDrillTwentyRandomFaults(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum")
	r, how := b.playDrill("--rounds", "20", "--seed", "1", "--pause", "15ms")
	if how.code != 0 || !r.OK || len(r.Rounds) != 20 || r.Lost != 0 || r.SecondWriters != 0 || r.Back != r.Struck || r.Struck == 0 || r.Acknowledged == 0 {
		t.Errorf("exit code %d: %d rounds, %d acknowledged, %d lost, %d second writers, %d of %d back\n%s\n%s", how.code, len(r.Rounds), r.Acknowledged, r.Lost, r.SecondWriters, r.Back, r.Struck, how.err, b.log())
	}
	t.Logf("%s", how.err)
	b.noDrillDatabase()
	for _, fault := range []drill.Fault{drill.FaultKill, drill.FaultEndpoint, drill.FaultDaemon} {
		b.drilledThroughEndpoints(fault)
	}
	b.noDrillDatabase()
	b.verified()
}

// drilledThroughEndpoints plays a round of the fault under writers that go through the
// endpoints.
func (b *box) drilledThroughEndpoints(fault drill.Fault) {
	b.t.Helper()
	r, how := b.playDrill("--rounds", "1", "--through", "endpoint", "--fault", string(fault), "--pause", "15ms")
	if how.code != 0 || !r.OK || len(r.Rounds) != 1 || r.Through != drill.ThroughEndpoint || r.Lost != 0 || r.SecondWriters != 0 || r.Acknowledged == 0 {
		b.t.Fatalf("%s: exit code %d: %+v\n%s\n%s", fault, how.code, r, how.err, b.log())
	}
	if r.Reads == nil || r.Reads.Count == 0 {
		b.t.Errorf("%s: nobody read through the endpoint: %+v", fault, r.Reads)
	}
	if struck := fault == drill.FaultEndpoint; struck != (r.Endpoint != nil) {
		b.t.Errorf("%s: the endpoint leads again after %+v", fault, r.Endpoint)
	}
	if round := r.Rounds[0]; (fault == drill.FaultKill) != (round.Primary != round.NewPrimary) {
		b.t.Errorf("%s: the primary was %s and is %s", fault, round.Primary, round.NewPrimary)
	}
	b.t.Logf("%s%+v, endpoint %+v", how.err, r.Reads, r.Endpoint)
}

// TestDrillRefusesClusters has clusters that must not be struck.
func TestDrillRefusesClusters(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "1", "--dataset", "none", "--endpoint", "off")
	refused := func(code int, say string, args ...string) {
		t.Helper()
		if r := b.want(code, append([]string{"drill", "--rounds", "1", "--fault", "switchover"}, args...)...); !strings.Contains(r.err, say) {
			t.Errorf("drill %q says nothing of %q:\n%s", args, say, r.err)
		}
	}
	refused(6, "did not make")
	refused(2, "the cluster is", "--yes-this-cluster", "other")
	refused(2, "virtual machines", "--fault", "power-off")
	refused(2, "through", "--through", "both")
	refused(6, "has no endpoints", "--yes-this-cluster", "main", "--through", "endpoint")
	refused(6, "has no endpoints", "--yes-this-cluster", "main", "--fault", "endpoint")
	b.ok("pause")
	refused(6, "paused", "--yes-this-cluster", "main")
	b.ok("resume")
	b.ok("stop", "node1")
	refused(6, "not whole", "--yes-this-cluster", "main")
	b.ok("start", "node1")
	b.noDrillDatabase()
	b.eventually("the cluster is whole", func() bool { return len(drill.Whole(b.ps())) == 0 })
	if r, how := b.playDrill("--rounds", "1", "--fault", "switchover", "--yes-this-cluster", "main"); how.code != 0 || !r.OK {
		t.Errorf("exit code %d: %+v\n%s", how.code, r, how.err)
	}
	b.noDrillDatabase()
}

// TestDrillFindsAMissingFence strikes a cluster of a program that promotes beside a
// primary whose sessions go on: what the old primary acknowledges is lost.
func TestDrillFindsAMissingFence(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	sound := b.bin
	b.bin = filepath.Join(t.TempDir(), "pgapp")
	buildEdited(t, b.bin, faults()["no fence"].edit)
	defer func() { // before the box is closed
		b.killDaemon()
		b.bin = sound
	}()
	b.up("--standbys", "2", "--durability", "async")
	r, how := b.playDrill("--rounds", "1", "--fault", "halt", "--limit", "15s", "--pause", "5ms")
	if how.code != appliance.ExitDegraded || r.OK || r.Lost+r.SecondWriters == 0 {
		t.Errorf("exit code %d, %d lost, %d second writers, want 3 and some\n%s\n%s", how.code, r.Lost, r.SecondWriters, how.err, b.log())
	}
}
