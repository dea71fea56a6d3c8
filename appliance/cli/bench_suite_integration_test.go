//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/drill"
	"pgapp/appliance/home"
	"pgapp/appliance/wait"
)

// suiteRecord is the record of the box's only suite.
func (b *box) suiteRecord() appliance.Bench {
	b.t.Helper()
	all, err := bench.Records{Dir: filepath.Join(b.home, home.BenchesDir)}.List()
	if err != nil || len(all) != 1 {
		b.t.Fatalf("%d records: %v", len(all), err)
	}
	return all[0]
}

// killSuite begins to go on with the suite, and kills it where it measures the primary
// alone, with its guardian or without. It returns the number of its process.
func (b *box) killSuite(guardian bool) int {
	b.t.Helper()
	suite, ended := b.background("bench", "suite", "--resume")
	b.eventually("the primary is alone", func() bool {
		stopped := 0
		for _, m := range b.ps().Members {
			if m.State == appliance.StateStopped {
				stopped++
			}
		}
		return stopped == 2
	})
	if guardian {
		pid := b.guardian()
		b.must(pid.Kill())
	}
	b.must(suite.Process.Kill())
	ended()
	return suite.Process.Pid
}

// noShares wants no control group left that the process made for a member.
func (b *box) noShares(pid int) {
	b.t.Helper()
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), fmt.Sprintf("pgapp-share-%d-", pid)) {
			b.t.Errorf("%s is left", path)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil // groups come and go
		}
		return err
	})
	b.must(err)
}

// guardian is the process that guards the box's suite.
func (b *box) guardian() *os.Process {
	b.t.Helper()
	entries, err := os.ReadDir("/proc")
	b.must(err)
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if pid, notNumber := strconv.Atoi(e.Name()); err == nil && notNumber == nil && bytes.Contains(line, []byte("\x00guard\x00")) && bytes.Contains(line, []byte(b.home)) {
			p, err := os.FindProcess(pid)
			b.must(err)
			return p
		}
	}
	b.t.Fatal("the suite has no guardian")
	return nil
}

// wasPutBack wants the cluster as it was before the suite.
func (b *box) wasPutBack(by, books string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
	defer cancel()
	_ = wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) { return !b.suiteRecord().PutBackLeft(), nil })
	r, s := b.suiteRecord(), b.ps()
	if r.PutBackLeft() || r.Before.PutBack.By != by || r.State == appliance.BenchRunning {
		b.t.Errorf("state %s, before %+v, notes %q", r.State, r.Before, r.Notes)
	}
	if found := drill.Whole(s); len(found) > 0 || s.Durability != appliance.DurabilityAsync || s.Primary != "node0" {
		b.t.Errorf("put back by the %s: %q, durability %s, primary %s", by, found, s.Durability, s.Primary)
	}
	if now := b.books(); now != books {
		b.t.Errorf("put back by the %s: the cluster's own tables: %s, %s before", by, now, books)
	}
}

// TestBenchSuiteIsPutBackAfterAKill kills a suite with and without its guardian, and goes
// on with it.
func TestBenchSuiteIsPutBackAfterAKill(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.mayHold = append(b.mayHold, home.BenchesDir)
	b.up("--standbys", "2", "--durability", "async")
	books := b.books()

	suite, ended := b.background("bench", "suite", "--quick")
	records := bench.Records{Dir: filepath.Join(b.home, home.BenchesDir)}
	b.eventually("the suite has begun", func() bool {
		all, err := records.List()
		b.must(err)
		return len(all) == 1 && len(all[0].Points) > 0
	})
	b.must(suite.Process.Kill())
	ended()
	b.wasPutBack(appliance.PutBackByGuardian, books)

	r := b.suiteRecord() // from here on a small one
	load := r.Points[0].Load
	load.WarmupSeconds, load.DurationSeconds, load.ReadFrom = 0, 1, "standbys"
	killed := load
	killed.Rate, killed.ReadPercent, killed.DurationSeconds = 30, 50, 4
	r.Points, r.Experiments = nil, []appliance.BenchExperiment{
		{Name: "few", Title: "What does a kill leave?", Measure: "throughput", Repeats: 1, Variants: []appliance.BenchVariant{
			{Name: "alone", Load: load, Durability: "async"},
			{Name: "quorum", Load: load, Standbys: 1, Durability: "quorum"},
			{Name: "killed", Load: killed, Standbys: 2, Durability: "async", Event: appliance.BenchKillPrimary},
		}},
	}
	r.Experiments[0].Variants[0].Load.ReadFrom = "primary"
	r.Experiments[0].Variants[0].Load.WarmupSeconds = 2
	b.must(records.Save(r))

	pid := b.killSuite(false)
	b.wasPutBack(appliance.PutBackByGuardian, books)
	b.noShares(pid)
	if r := b.suiteRecord(); len(r.Points) != 2 || r.State != appliance.BenchInterrupted {
		t.Errorf("state %s with %d points, want those of two variants", r.State, len(r.Points))
	}
	pid = b.killSuite(true)
	if !b.suiteRecord().PutBackLeft() {
		t.Error("nothing is left to be put back: the test shows nothing")
	}
	if r := b.ok("bench", "ls"); !strings.Contains(r.err, "putting cluster main back") {
		t.Errorf("bench ls says nothing of putting back:\n%s", r.err)
	}
	b.wasPutBack(appliance.PutBackByCommand, books)
	b.noShares(pid)

	if r := b.want(6, "bench", "suite", "--resume", "--quick"); !strings.Contains(r.err, "stands where") {
		t.Errorf("another suite: %s", r.err)
	}
	b.ok("stop", "node2")
	if r := b.want(6, "bench", "suite", "--resume"); !strings.Contains(r.err, "node2 is stopped") {
		t.Errorf("a cluster that is not whole: %s", r.err)
	}
	b.ok("start", "node2")
	b.eventually("the cluster is whole", func() bool { return len(drill.Whole(b.ps())) == 0 })
	last := b.bench(b.ok("bench", "suite", "--resume", "-o", "json"))
	b.wasPutBack(appliance.PutBackBySuite, books)
	i := slices.IndexFunc(last.Points, func(p appliance.BenchPoint) bool { return p.Event != nil })
	if last.State != appliance.BenchSucceeded || len(last.Points) != 3 || i < 0 || len(bench.TurnsLeft(last)) != 0 {
		t.Fatalf("state %s with %d points: %+v", last.State, len(last.Points), last.Error)
	}
	if e := last.Points[i].Event; e.Lost != 0 || e.NewPrimary == "node0" || e.WritesMillis == 0 {
		t.Errorf("a killed primary: %+v", e)
	}
	unshared := slices.ContainsFunc(last.Notes, func(n string) bool { return strings.Contains(n, "no equal shares") })
	if shared := last.Setting.Share > 0 && len(last.Points[0].Result.Used) > 0; shared == unshared {
		t.Errorf("share %v, used %v, notes %q", last.Setting.Share, last.Points[0].Result.Used, last.Notes)
	}
	r = b.suiteRecord() // as if node2 were new since, and node9 had been removed
	r.Before.Members, r.Before.PutBack = []string{"node0", "node1", "node9"}, nil
	b.must(records.Save(r))
	b.ok("stop")
	if r := b.ok("bench", "ls"); !strings.Contains(r.err, `cluster "main" is stopped`) || strings.Contains(r.err, "psql") {
		t.Errorf("the cluster of a suite that was killed is stopped by hand:\n%s", r.err)
	}
	b.ok("start")
	b.ok("bench", "ls")
	b.wasPutBack(appliance.PutBackByCommand, books)
	out := filepath.Join(t.TempDir(), "report")
	if r := b.ok("bench", "report", "--out", out); strings.Count(r.out, out) != 4 {
		t.Errorf("report: %s", r.out)
	}
}
