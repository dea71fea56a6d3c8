package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func schemaOf(t *testing.T, db *bolt.DB) (version int) {
	t.Helper()
	if err := db.View(func(tx *bolt.Tx) error {
		_, err := get(tx, bucketMeta, metaSchema, &version)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return version
}

// TestMigrate runs steps that no release has yet: in order, each once, with a
// copy kept before each; a failed one changes nothing and can be repeated.
func TestMigrate(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	const first = SchemaVersion + 1
	var ran []int
	fail := errors.New("failed")
	var refuse error
	steps := []migration{
		{first, func(tx *bolt.Tx) error { ran = append(ran, first); return put(tx, bucketSettings, "two", []byte("2")) }},
		{first + 1, func(tx *bolt.Tx) error {
			ran = append(ran, first+1)
			return errors.Join(put(tx, bucketSettings, "three", []byte("3")), refuse)
		}},
		{first + 2, func(*bolt.Tx) error { ran = append(ran, first+2); return nil }},
	}
	refuse = fail
	if err := migrate(t.Context(), s.db, s.dir, first-1, first+1, steps); !errors.Is(err, fail) {
		t.Fatalf("migrate = %v, want the step's error", err)
	}
	if _, err := s.Setting(t.Context(), "three"); !appliance.IsProblem(err, appliance.ErrNotFound) || schemaOf(t, s.db) != first {
		t.Errorf("the failed step left something (%v), schema %d", err, schemaOf(t, s.db))
	}
	refuse = nil
	if err := migrate(t.Context(), s.db, s.dir, first, first+1, steps); err != nil || schemaOf(t, s.db) != first+1 {
		t.Errorf("migrate = %v, schema %d, want %d", err, schemaOf(t, s.db), first+1)
	}
	if want := []int{first, first + 1, first + 1}; !slices.Equal(ran, want) {
		t.Errorf("steps ran %v, want %v", ran, want)
	}
	for version, want := range map[int]int{first: first - 1, first + 1: first} {
		name := fmt.Sprintf("state.db.pre-v%d", version)
		path := filepath.Join(s.dir, name)
		db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := schemaOf(t, db); got != want {
			t.Errorf("%s has schema %d, want %d", name, got, want)
		}
		_ = db.Close()
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", name, fi.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, temporaryPrefix+"*")); left != nil {
		t.Errorf("temporary files are left: %v", left)
	}
}

// TestMigrationsAreWhole wants a step for every version up to the present.
func TestMigrationsAreWhole(t *testing.T) {
	t.Parallel()
	if got := len(migrations()); got != SchemaVersion-1 {
		t.Fatalf("%d migrations lead to schema %d", got, SchemaVersion)
	}
	for i, m := range migrations() {
		if m.version != i+2 || m.apply == nil {
			t.Errorf("migration %d leads to version %d", i, m.version)
		}
	}
}

// TestNothingIsWrittenAfterAnUnknownOutcome marks a commit as failed that is visible: nothing is
// written from then on.
func TestNothingIsWrittenAfterAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	ctx := t.Context()
	var id int
	if err := s.commit(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	s.judge(id+1, errors.New("a write that didn't get as far"))
	if err := s.PutSetting(ctx, "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s.judge(id+1, errors.New("input/output error"))
	for _, err := range []error{
		s.PutSetting(ctx, "a", []byte("2")),
		s.Begin(ctx, appliance.Beginning{Operation: appliance.Operation{ID: "a", State: appliance.OpRunning}}),
	} {
		if !appliance.IsProblem(err, appliance.ErrHomeUnusable) {
			t.Errorf("write = %v, want home-unusable", err)
		}
	}
	if v, err := s.Setting(ctx, "a"); string(v) != "1" || err != nil {
		t.Errorf("reading = %q, %v", v, err)
	}
}

// TestGroupSharesTransactions lets many writes share transactions: each has its own outcome.
func TestGroupSharesTransactions(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	commits := 0
	commit := func(fn func(*bolt.Tx) error) error { commits++; return s.commit(fn) }
	var g group
	refused := errors.New("refused")
	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := g.do(t.Context(), func(tx *bolt.Tx) error {
				if err := put(tx, bucketSettings, fmt.Sprint(i), []byte("x")); err != nil {
					return err
				}
				if i%10 == 0 {
					return refused
				}
				return nil
			}, commit)
			if (i%10 == 0) != errors.Is(err, refused) || (i%10 != 0) != (err == nil) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range n {
		_, err := s.Setting(t.Context(), fmt.Sprint(i))
		if i%10 == 0 && !appliance.IsProblem(err, appliance.ErrNotFound) || i%10 != 0 && err != nil {
			t.Errorf("write %d is stored: %v", i, err)
		}
	}
	t.Logf("%d writes in %d transactions", n, commits)
}

// TestGroupSurvivesAPanic lets one write panic: the others of its transaction aren't
// left waiting, and the group goes on.
func TestGroupSurvivesAPanic(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		var g group
		release := make(chan struct{})
		go func() {
			_ = g.do(t.Context(), func(*bolt.Tx) error { <-release; return nil }, s.commit)
		}()
		synctest.Wait()
		var panics, told atomic.Int32
		for range 4 {
			go func() {
				defer func() {
					if recover() != nil {
						panics.Add(1)
					}
				}()
				if err := g.do(t.Context(), func(*bolt.Tx) error { panic("a mistake") }, s.commit); err != nil {
					told.Add(1)
				}
			}()
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		if panics.Load() != 1 || told.Load() != 3 {
			t.Errorf("%d writes panicked, %d were told", panics.Load(), told.Load())
		}
		if err := g.do(t.Context(), func(*bolt.Tx) error { return nil }, s.commit); err != nil {
			t.Error(err)
		}
	})
}

func replaceWith(t *testing.T, dir string, lock *HomeLock, db []byte) (string, error) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(from, db, 0o600); err != nil {
		t.Fatal(err)
	}
	return Replace(t.Context(), dir, lock, from, time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
}

func snapshot(t *testing.T, value string) (instance string, db []byte) {
	t.Helper()
	s := openStore(t)
	var b bytes.Buffer
	err := s.PutSetting(t.Context(), "which", []byte(value))
	info, err2 := s.Info(t.Context())
	_, err3 := s.Backup(t.Context(), &b)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return info.Instance, b.Bytes()
}

// which opens the home under the lock and reads the setting of snapshot.
func which(t *testing.T, dir string, lock *HomeLock) string {
	t.Helper()
	s, err := Open(t.Context(), dir, Options{Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	v, err := s.Setting(t.Context(), "which")
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

func TestReplace(t *testing.T) {
	t.Parallel()
	_, first := snapshot(t, "first")
	second, other := snapshot(t, "second")
	for name, prepare := range map[string]func(dir string) error{
		"whole":    func(string) error { return nil },
		"damaged":  func(dir string) error { return os.Truncate(filepath.Join(dir, FileName), 5000) },
		"empty":    func(dir string) error { return os.Truncate(filepath.Join(dir, FileName), 0) },
		"vanished": func(dir string) error { return os.Remove(filepath.Join(dir, FileName)) },
		"new home": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, FileName)), os.Remove(filepath.Join(dir, SidecarName)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lock, err := Lock(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = lock.Release() }()
			if _, err := replaceWith(t, dir, lock, first); err != nil {
				t.Fatal(err)
			}
			if got := which(t, dir, lock); got != "first" {
				t.Fatalf("the home holds %q", got)
			}
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			old, _ := os.ReadFile(filepath.Join(dir, FileName))
			kept, err := replaceWith(t, dir, lock, other)
			if err != nil {
				t.Fatal(err)
			}
			if got := which(t, dir, lock); got != "second" {
				t.Errorf("the home holds %q, want the second", got)
			}
			if ids, err := readSidecar(dir); len(ids) != 1 || ids[0] != second || err != nil {
				t.Errorf("sidecar %v (%v), want %s", ids, err, second)
			}
			after, err := os.ReadFile(kept)
			if (kept == "") != (old == nil) || (kept != "" && (err != nil || !bytes.Equal(old, after))) {
				t.Errorf("kept %q: %d bytes (%v), had %d", kept, len(after), err, len(old))
			}
		})
	}
}

// TestReplaceInterrupted stops between the parts of Replace: the home opens
// with the one or the other.
func TestReplaceInterrupted(t *testing.T) {
	t.Parallel()
	id1, first := snapshot(t, "first")
	id2, second := snapshot(t, "second")
	for name, c := range map[string]struct {
		db   []byte
		ids  []string
		want string
	}{
		"both ids, the old file": {first, []string{id1, id2}, "first"},
		"both ids, the new file": {second, []string{id1, id2}, "second"},
	} {
		dir := t.TempDir()
		if err := errors.Join(writeSidecar(dir, c.ids...), os.WriteFile(filepath.Join(dir, FileName), c.db, 0o600)); err != nil {
			t.Fatal(err)
		}
		if got := which(t, dir, nil); got != c.want {
			t.Errorf("%s: the home holds %q, want %q", name, got, c.want)
		}
	}
}

func TestReplaceRefuses(t *testing.T) {
	t.Parallel()
	_, first := snapshot(t, "first")
	dir := t.TempDir()
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replaceWith(t, dir, lock, first); err != nil {
		t.Fatal(err)
	}
	if _, err := replaceWith(t, dir, lock, first[:len(first)-1]); !appliance.IsProblem(err, appliance.ErrStoreDamaged) {
		t.Errorf("a damaged copy: %v", err)
	}
	if _, err := replaceWith(t, dir, nil, first); err == nil {
		t.Error("it ran without the lock")
	}
	from := filepath.Join(dir, FileName)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Replace(ctx, dir, lock, from, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_ = lock.Release()
	if got := which(t, dir, nil); got != "first" {
		t.Errorf("the home holds %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*replaced*")); left != nil {
		t.Errorf("copies of nothing: %v", left)
	}
}

// TestToSchema2 migrates a record of the release before, twice as after a kill.
func TestToSchema2(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	raw := func(name, json string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, err := bucketOf(tx, bucketClusters)
			if err != nil {
				return err
			}
			return b.Put([]byte(name), wrap(bucketClusters, []byte(name), []byte(json)))
		}
	}
	const members = `"members":[{"name":"node0","host":"127.0.122.1","port":5432},{"name":"node1","slot":"node1","uuid":"u1"}]`
	err := s.db.Update(func(tx *bolt.Tx) error {
		return errors.Join(
			raw("adopted", `{"name":"adopted","primary":"node1","epoch":18446744073709551615,"timeline":3,"created_at":"2026-11-24T12:00:00Z",`+members+`,"revision":7}`)(tx),
			raw("fresh", `{"name":"fresh","primary":"node0","epoch":1,"created_at":"2026-11-24T12:00:00Z",`+members+`,"spec":{"parameters":{"work_mem":"8MB"}}}`)(tx),
			raw("empty", `{"name":"empty"}`)(tx),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.db.Update(toSchema2); err != nil {
			t.Fatal(err)
		}
	}
	adopted, err := s.Cluster(t.Context(), "adopted")
	created := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	want := appliance.Promotion{Epoch: 1<<64 - 1, Member: "node1", Timeline: 3, At: created, Reason: "recorded by an older pgapp"}
	if err != nil || len(adopted.Promotions) != 1 || adopted.Promotions[0] != want || adopted.Revision != 7 || adopted.Epoch != want.Epoch {
		t.Errorf("adopted: %+v, %v", adopted, err)
	}
	fresh, err := s.Cluster(t.Context(), "fresh")
	if err != nil || fresh.Promotions != nil || fresh.Members[1].Epoch != 1 || fresh.Members[1].Slot != "node1" || fresh.Spec.Parameters["work_mem"] != "8MB" {
		t.Errorf("fresh: %+v, %v", fresh, err)
	}
	if empty, err := s.Cluster(t.Context(), "empty"); err != nil || empty.Members != nil {
		t.Errorf("empty: %+v, %v", empty, err)
	}
}
