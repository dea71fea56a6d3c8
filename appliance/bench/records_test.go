package bench_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
)

func saved(t *testing.T, r bench.Records, at time.Time, state appliance.BenchState) string {
	t.Helper()
	id := bench.NewID(at)
	if err := r.Save(appliance.Bench{ID: id, Cluster: "main", State: state, CreatedAt: at}); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRecordsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	r := bench.Records{Dir: filepath.Join(t.TempDir(), "benches")}
	if all, err := r.List(); err != nil || all == nil || len(all) != 0 { // an empty list in JSON, not null
		t.Fatalf("a home without benches: %v, %v", all, err)
	}
	now := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	var want []string
	for _, after := range []time.Duration{0, 1, 2, 3, 4, 5, time.Second, time.Hour} {
		want = append(want, saved(t, r, now.Add(after), appliance.BenchSucceeded))
	}
	slices.Reverse(want)
	// A file that can't be read, and files of others, hide nothing.
	bad := filepath.Join(r.Dir, "20260302-000000-abcd.json")
	for _, name := range []string{bad, filepath.Join(r.Dir, "notes.json"), filepath.Join(r.Dir, "20260302-000000-abcd.json1")} {
		if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.List()
	if err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("the error does not name the file that can't be read: %v", err)
	}
	var got []string
	for _, b := range all {
		got = append(got, b.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestRecordThatNobodyRunsIsInterrupted(t *testing.T) {
	t.Parallel()
	r := bench.Records{Dir: t.TempDir()}
	id := saved(t, r, time.Now(), appliance.BenchRunning)
	state := func(want appliance.BenchState) {
		t.Helper()
		if b, err := r.Load(id); err != nil || b.State != want {
			t.Errorf("the bench is %s (%v), want %s", b.State, err, want)
		}
	}
	state(appliance.BenchInterrupted)
	if err := r.Cancel(id); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("a bench that was killed is cancelled: %v", err)
	}
	// Another bench runs, not this one.
	release, err := r.Claim("20260302-000000-wxyz")
	if err != nil {
		t.Fatal(err)
	}
	state(appliance.BenchInterrupted)
	if err := r.Cancel(id); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("a bench that was killed is cancelled while another runs: %v", err)
	}
	release()
	release, err = r.Claim(id)
	if err != nil {
		t.Fatal(err)
	}
	state(appliance.BenchRunning)
	if _, err := r.Claim(id); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("a second bench begins beside the first: %v", err)
	}
	if err := r.Remove(id); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("the bench that runs is removed: %v", err)
	}
	release()
	state(appliance.BenchInterrupted)
	if err := r.Remove(id); err != nil {
		t.Error(err)
	}
	if _, err := r.Load(id); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("the removed bench is there: %v", err)
	}
	if err := r.Remove(id); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("a second removal: %v", err)
	}
}

// TestClaimRemovesUnfinishedRecords has files as a process leaves them that is killed while
// it saves; one may be in work at another process still.
func TestClaimRemovesUnfinishedRecords(t *testing.T) {
	t.Parallel()
	r := bench.Records{Dir: t.TempDir()}
	const id = "20260301-120000-abcd"
	if err := r.Save(appliance.Bench{ID: id}); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	for name, at := range map[string]time.Time{"." + id + ".json123456": long, "." + id + ".json654321": time.Now(), id + ".json": long} {
		path := filepath.Join(r.Dir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	release, err := r.Claim(id)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"." + id + ".json654321", id + ".json", "lock"}; !slices.Equal(names, want) {
		t.Errorf("%q are left, want %q", names, want)
	}
}

func TestIDsAreNoPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "20260302-000000-abcd.json")
	if err := os.WriteFile(secret, []byte(`{"id":"20260302-000000-abcd"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := bench.Records{Dir: filepath.Join(dir, "benches")}
	for _, id := range []string{"../20260302-000000-abcd", "", ".", "lock", "20260302-000000-ABCD", "20260302-000000-abcd/../x", "20260302-000000-abcd\x00"} {
		if _, err := r.Load(id); !appliance.IsProblem(err, appliance.ErrNotFound) {
			t.Errorf("loading %q: %v", id, err)
		}
		if err := r.Remove(id); !appliance.IsProblem(err, appliance.ErrNotFound) {
			t.Errorf("removing %q: %v", id, err)
		}
		if err := r.Save(appliance.Bench{ID: id}); err == nil {
			t.Errorf("a record is saved as %q", id)
		}
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
	// A record is that of its own name.
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(secret, filepath.Join(r.Dir, "20260303-000000-abcd.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Load("20260303-000000-abcd"); err == nil {
		t.Error("a renamed record is taken for the other one's")
	}
}
