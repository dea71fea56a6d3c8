//go:build integration

package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/drill"
	"pgapp/appliance/home"
	"pgapp/appliance/wait"
)

// bench reads the record that pgapp bench has printed.
func (b *box) bench(r result) appliance.Bench {
	b.t.Helper()
	var out appliance.Bench
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || len(out.Points) == 0 {
		b.t.Fatalf("pgapp bench: exit code %d, %v\n%s%s\n%s", r.code, err, r.out, r.err, b.log())
	}
	return out
}

// books are the figures of the cluster's own rentals and payments.
func (b *box) books() string {
	b.t.Helper()
	return b.rows(`SELECT count(*), max(rental_id), (SELECT (count(*), sum(amount)) FROM payment), to_regnamespace('pgapp_rental'),
(SELECT count(*) FROM pg_database WHERE datname = 'pgapp_bench') FROM rental`)
}

// benchAtWork waits until a bench has measured something: one of its clients, which do one
// thing after the other, has made two writes.
func (b *box) benchAtWork(clients int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
	defer cancel()
	b.must(wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		r := b.run("psql", "--", "-XAtq", "-c", `\c `+appliance.BenchDatabase, "-c", "SELECT count(*) FROM pgapp_rental.request")
		made, err := strconv.Atoi(strings.TrimSpace(r.out))
		return err == nil && made > clients, nil // before the database is there, no number
	}))
}

// TestBenchRunMeasuresACopy drives loads on a cluster, one of which is killed and one
// ended by Ctrl-C; the cluster's own tables stay as they are.
func TestBenchRunMeasuresACopy(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.mayHold = append(b.mayHold, home.BenchesDir)
	b.up("--standbys", "1")
	before := b.books()
	b.rows("ALTER TABLE film RENAME TO movie")
	if r := b.run("bench", "run"); r.code == 0 || !strings.Contains(r.err, `database "pagila" is not Pagila`) {
		t.Errorf("a database that is not Pagila: exit code %d, %s", r.code, r.err)
	}
	b.rows("ALTER TABLE movie RENAME TO film")

	killed, ended := b.background("bench", "run", "--reads", "0", "--clients", "4", "--warmup", "0s", "--duration", "5m")
	b.benchAtWork(4)
	b.must(killed.Process.Kill())
	ended()
	if now := b.books(); now == before {
		t.Error("a killed bench leaves no database: the test shows nothing")
	}

	r := b.bench(b.ok("bench", "run", "--reads", "70", "--warmup", "500ms", "--duration", "3s", "--consistency", "session", "-o", "json"))
	p := r.Points[0].Result
	reads, writes := p.Kinds["read"].Count, p.Kinds["write"].Count
	if r.State != appliance.BenchSucceeded || reads == 0 || writes == 0 || len(p.Errors) > 0 || p.Missed != 0 || p.Requests != reads+writes {
		t.Errorf("state %s: %d requests, %d reads, %d writes, errors %v, %d own writes not seen", r.State, p.Requests, reads, writes, p.Errors, p.Missed)
	}
	if p.Answered["node1"] != reads-p.Redirected || p.Answered["node0"] != writes+p.Redirected {
		t.Errorf("%d reads, %d writes and %d redirected, answered by %v", reads, writes, p.Redirected, p.Answered)
	}
	for _, kind := range []string{"film", "rentals", "rent", "read", "write", "all"} {
		if l := p.Kinds[kind]; l.Count == 0 || l.P50 <= 0 || l.Max < l.P99 || l.Histogram == "" {
			t.Errorf("%s: %+v", kind, l)
		}
	}
	if len(p.Series) < 3 || p.Series[1].LagBytes == nil || p.Driver.Cores <= 0 {
		t.Errorf("series %+v, driver %+v", p.Series, p.Driver)
	}
	if s := r.Setting; s.PostgreSQL == "" || s.Kernel == "" || s.MemoryMiB == 0 || len(s.Members) != 2 || s.Settings["wal_level"] == "" {
		t.Errorf("setting %+v", s)
	}
	if now := b.books(); now != before {
		t.Errorf("the cluster's own tables: %s, %s before", now, before)
	}

	cut, ended := b.background("bench", "run", "--rate", "40", "--reads", "50", "--clients", "4", "--through", "members", "--read-from", "primary", "--warmup", "0s", "--duration", "5m", "-o", "json")
	b.benchAtWork(4)
	b.must(cut.Process.Signal(os.Interrupt))
	how := ended()
	r = b.bench(how)
	kept, err := bench.Records{Dir: filepath.Join(b.home, home.BenchesDir)}.List()
	var states []appliance.BenchState
	for _, k := range kept {
		states = append(states, k.State)
	}
	want := []appliance.BenchState{appliance.BenchCancelled, appliance.BenchSucceeded, appliance.BenchInterrupted, appliance.BenchFailed}
	if err != nil || !slices.Equal(states, want) || !cmp.Equal(kept[0], r) {
		t.Errorf("the records are %v, want %v: %v", states, want, err)
	}
	if p := r.Points[0]; how.code != appliance.ExitInterrupted || r.State != appliance.BenchCancelled || !p.Partial || p.Result.Answered["node1"] != 0 || len(p.Result.Errors) > 0 {
		t.Errorf("Ctrl-C: exit code %d, state %s, partial %t, answered by %v, errors %v\n%s", how.code, r.State, p.Partial, p.Result.Answered, p.Result.Errors, how.err)
	}
	b.endSuite()
	b.moveUnderASuite()
	b.endBeforeTheFirstAnswer("run", "--warmup", "5m")
	b.endBeforeTheFirstAnswer("suite", "--quick")
	if now := b.books(); now != before {
		t.Errorf("the cluster's own tables after Ctrl-C: %s, %s before", now, before)
	}
}

// endBeforeTheFirstAnswer ends a bench by Ctrl-C as soon as it has a record. What it prints
// is that record, with empty lists.
func (b *box) endBeforeTheFirstAnswer(args ...string) {
	b.t.Helper()
	records := bench.Records{Dir: filepath.Join(b.home, home.BenchesDir)}
	before, err := records.List()
	b.must(err)
	cut, ended := b.background(append([]string{"bench", "-o", "json"}, args...)...)
	b.eventually("the bench has a record", func() bool {
		now, err := records.List()
		b.must(err)
		return len(now) > len(before)
	})
	b.must(cut.Process.Signal(os.Interrupt))
	how := ended()
	var printed struct {
		State   appliance.BenchState
		Points  *[]appliance.BenchPoint
		Setting struct{ Members []appliance.BenchMember }
	}
	if err := json.Unmarshal([]byte(how.out), &printed); err != nil {
		b.t.Fatalf("bench %s ended before its first answer prints no record: %v\n%s%s", args[0], err, how.out, how.err)
	}
	if how.code != appliance.ExitInterrupted || printed.State != appliance.BenchCancelled || printed.Points == nil || len(*printed.Points) > 0 || !strings.Contains(how.err, "interrupted") {
		b.t.Errorf("bench %s ended before its first answer: exit code %d, %s\n%s", args[0], how.code, how.out, how.err)
	}
}

// moveUnderASuite moves the primary by hand while a suite measures a point, which is not one
// of its variant then.
func (b *box) moveUnderASuite() {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "moved.yaml")
	b.must(os.WriteFile(file, []byte(`name: moved
warmup_seconds: 0
duration_seconds: 4
experiments:
  - {name: site, title: What if somebody moves the primary?, measure: throughput, variants: [{name: writers, read_percent: 0, clients: 4}]}
`), 0o600))
	_, ended := b.background("bench", "suite", "--file", file, "-o", "json")
	b.benchAtWork(4)
	b.ok("switchover")
	how := ended()
	// A slow switchover may come between two points, or before the second one has an answer.
	r := b.bench(how)
	first := len(r.Points) == 1 && (r.Points[0].Partial || r.Progress.Done == 1)
	later := len(r.Points) == 2 && !r.Points[0].Partial && r.Points[1].Partial
	if how.code != 6 || r.State != appliance.BenchFailed || !first && !later || r.PutBackLeft() {
		b.t.Errorf("exit code %d, state %s, %d points, %d done\n%s", how.code, r.State, len(r.Points), r.Progress.Done, how.err)
	}
	if !strings.Contains(how.err, "the primary is node1, and was node0") {
		b.t.Errorf("the error does not say what has changed: %s", how.err)
	}
	if s := b.ps(); s.Primary != "node0" || len(drill.Whole(s)) > 0 {
		b.t.Errorf("after a primary that was moved by hand: %+v", s)
	}
}

// endSuite ends a suite of a user's file by Ctrl-C after its first point, which is kept.
func (b *box) endSuite() {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "mine.yaml")
	b.must(os.WriteFile(file, []byte(`name: mine
seed: 5
warmup_seconds: 0
duration_seconds: 1
clients: 3
experiments:
  - name: site
    title: How much does a site carry that I have written?
    measure: throughput
    repeats: 20
    variants: [{name: readers, read_percent: 99.5}, {name: writers, read_percent: 20}]
`), 0o600))
	suite, ended := b.background("bench", "suite", "--file", file, "-o", "json")
	ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
	defer cancel()
	records := bench.Records{Dir: filepath.Join(b.home, home.BenchesDir)}
	b.must(wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		kept, err := records.List()
		return len(kept) > 0 && kept[0].Kind == appliance.BenchSuite && len(kept[0].Points) > 0, err
	}))
	b.must(suite.Process.Signal(os.Interrupt))
	how := ended()
	r := b.bench(how)
	kept, err := records.Load(r.ID)
	if how.code != appliance.ExitInterrupted || r.State != appliance.BenchCancelled || err != nil || len(kept.Points) != len(r.Points) || kept.PutBackLeft() {
		b.t.Errorf("a suite ended by Ctrl-C: exit code %d, state %s, %d points, %d kept, before %+v: %v\n%s", how.code, r.State, len(r.Points), len(kept.Points), kept.Before, err, how.err)
	}
	if l := r.Points[0].Load; r.Name != "mine" || l.Clients != 3 || l.Seed != 5 || !strings.Contains(r.Command, " --file "+file+" --seed 5") {
		b.t.Errorf("suite %s with seed %d and %d clients, again by %s", r.Name, l.Seed, l.Clients, r.Command)
	}
	if s := b.ps(); len(drill.Whole(s)) > 0 || s.Durability != appliance.DurabilityAsync || s.Primary != "node0" {
		b.t.Errorf("after a suite ended by Ctrl-C: %+v", s)
	}
}
