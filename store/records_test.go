package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	a := store.Token{ID: "a", Name: "ci", Scope: store.ScopeAdmin, Hash: [32]byte{1}, CreatedAt: stamp()}
	b := store.Token{ID: "b", Name: "ci", Scope: store.ScopeRead, Hash: [32]byte{2}, CreatedAt: stamp(), LastUsed: stamp()}
	if err := errors.Join(s.PutToken(ctx, b), s.PutToken(ctx, a), s.PutToken(ctx, a)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Tokens(ctx)
	if diff := cmp.Diff([]store.Token{a, b}, all); diff != "" || err != nil {
		t.Errorf("tokens (%v): %s", err, diff)
	}
	a.LastUsed = stamp().Add(time.Hour)
	if err := s.TouchToken(ctx, "a", a.LastUsed); err != nil {
		t.Error(err)
	}
	got, err := s.TokenByHash(ctx, a.Hash)
	if diff := cmp.Diff(a, got); diff != "" || err != nil {
		t.Errorf("token by hash (%v): %s", err, diff)
	}
	if err := s.DeleteToken(ctx, "a"); err != nil {
		t.Error(err)
	}
	_, e1 := s.TokenByHash(ctx, a.Hash)
	e2 := s.DeleteToken(ctx, "a")
	e3 := s.TouchToken(ctx, "a", stamp()) // doesn't bring it back
	_, e4 := s.TokenByHash(ctx, [32]byte{})
	for i, err := range []error{e1, e2, e3, e4} {
		if !appliance.IsProblem(err, appliance.ErrNotFound) {
			t.Errorf("call %d: %v, want not-found", i+1, err)
		}
	}
	for _, bad := range []store.Token{{ID: "", Scope: store.ScopeRead}, {ID: "c", Scope: "root"}} {
		if err := s.PutToken(ctx, bad); err == nil {
			t.Errorf("token %+v was accepted", bad)
		}
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	now := stamp()
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	ctx := t.Context()
	rec := store.Record{BodyHash: [32]byte{1}, OperationID: "op1", CreatedAt: now}
	_, err = s.IdempotencyGet(ctx, "k")
	wantProblem(t, err, appliance.ErrNotFound)
	if err := errors.Join(s.IdempotencyPut(ctx, "k", rec), s.IdempotencyPut(ctx, "k", rec)); err != nil {
		t.Fatal(err)
	}
	other := rec
	other.BodyHash[0] = 9
	wantProblem(t, s.IdempotencyPut(ctx, "k", other), appliance.ErrIdempotencyReuse)
	other = rec
	other.OperationID = "op2"
	err = s.IdempotencyPut(ctx, "k", other)
	wantProblem(t, err, appliance.ErrConflict, "op1")
	if p := appliance.AsProblem(err); p.Operation != "op1" {
		t.Errorf("the problem names %q, want op1", p.Operation)
	}
	now = now.Add(store.IdempotencyLife - 1)
	got, err := s.IdempotencyGet(ctx, "k")
	if diff := cmp.Diff(rec, got); diff != "" || err != nil {
		t.Errorf("record (%v): %s", err, diff)
	}
	now = now.Add(1)
	_, err = s.IdempotencyGet(ctx, "k")
	wantProblem(t, err, appliance.ErrNotFound)
	other.CreatedAt = now
	if err := s.IdempotencyPut(ctx, "k", other); err != nil {
		t.Errorf("using an expired key: %v", err)
	}
	if err := errors.Join(s.IdempotencyDelete(ctx, "k"), s.IdempotencyDelete(ctx, "k")); err != nil {
		t.Error(err)
	}
	_, err = s.IdempotencyGet(ctx, "k")
	wantProblem(t, err, appliance.ErrNotFound)
	for _, key := range []string{"", strings.Repeat("k", 1025)} {
		wantProblem(t, s.IdempotencyPut(ctx, key, rec), appliance.ErrUsage)
	}
}

// TestBeginRemembersItsRequest begins operations for a request that comes again.
func TestBeginRemembersItsRequest(t *testing.T) {
	t.Parallel()
	now := stamp()
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	begin := func(id string, create bool, supersede, key string, hash byte) error {
		b := appliance.Beginning{Operation: storetest.NewOperation(id, "main"), Supersede: supersede, Request: &appliance.Request{Key: key, Hash: [32]byte{hash}}}
		b.Operation.CreatedAt = now
		if create {
			b.Create = storetest.NewCluster("main")
		}
		return s.Begin(t.Context(), b)
	}
	is := func(when, key, operation string, hash byte) {
		t.Helper()
		got, err := s.IdempotencyGet(t.Context(), key)
		if want := (store.Record{BodyHash: [32]byte{hash}, OperationID: operation, CreatedAt: got.CreatedAt}); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %s", when, got, err, operation)
		}
	}
	if err := begin("op1", true, "", "k", 1); err != nil {
		t.Fatal(err)
	}
	is("begun", "k", "op1", 1)
	if err := begin("op2", false, "", "other", 2); err == nil {
		t.Fatal("an operation began beside a running one")
	}
	_, err = s.IdempotencyGet(t.Context(), "other")
	wantProblem(t, err, appliance.ErrNotFound)
	if err := begin("op2", false, "op1", "k", 1); err != nil {
		t.Fatal(err)
	}
	is("begun again", "k", "op1", 1)
	now = now.Add(store.IdempotencyLife)
	if err := begin("op3", false, "op2", "k", 3); err != nil {
		t.Fatal(err)
	}
	is("after the key's life", "k", "op3", 3)
}

// TestIdempotencyPrune looks into the file: what has expired is gone.
func TestIdempotencyPrune(t *testing.T) {
	t.Parallel()
	now := stamp()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir, store.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := s.IdempotencyPut(t.Context(), fmt.Sprint("k", i), store.Record{CreatedAt: now}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	closeStore(t, s)
	report, err := store.Check(t.Context(), filepath.Join(dir, store.FileName))
	if err != nil || len(report.Findings) != 0 || report.Values["idempotency"] != 24 || report.Values["idempotency_times"] != 24 {
		t.Errorf("values %v, findings %v (%v); want 24 keys left", report.Values, report.Findings, err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	for _, want := range [][]byte{{}, {0}, []byte("é\xff"), bytes.Repeat([]byte("x"), 100_000)} {
		if err := s.PutSetting(ctx, "a", want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Setting(ctx, "a"); !bytes.Equal(got, want) || got == nil || err != nil {
			t.Errorf("setting = %d bytes (%v), want %d", len(got), err, len(want))
		}
	}
	if err := s.PutSetting(ctx, "a", nil); err != nil {
		t.Error(err)
	}
	_, err := s.Setting(ctx, "a")
	wantProblem(t, err, appliance.ErrNotFound)
	wantProblem(t, s.PutSetting(ctx, "", nil), appliance.ErrUsage)
}

// TestSecretsAreInTheirBucketOnly looks for a secret everywhere but where it belongs.
func TestSecretsAreInTheirBucketOnly(t *testing.T) {
	t.Parallel()
	const canary = "canary-7c1f0e5b"
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	nc := storetest.NewCluster("main")
	nc.Secrets.Values["app"] = appliance.NewSecret(canary)
	if err := s.Begin(ctx, appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: nc}); err != nil {
		t.Fatal(err)
	}
	sec, err := s.Secrets(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	err = s.UpdateSecrets(ctx, "main", func(sec *appliance.Secrets) error { return fmt.Errorf("refused %v", sec) })
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", sec, sec, sec, sec), err.Error()} {
		if strings.Contains(text, canary) {
			t.Errorf("the secret shows: %s", text)
		}
	}
	closeStore(t, s)
	db, err := bolt.Open(filepath.Join(dir, store.FileName), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	encoded := "Y2FuYXJ5LTdjMWYwZTVi" // base64, as in the bucket of secrets
	found := 0
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if !bytes.Contains(v, []byte(canary)) && !bytes.Contains(v, []byte(encoded)) {
					return nil
				}
				found++
				if string(name) != "secrets" {
					t.Errorf("the secret stands in %s under %q", name, k)
				}
				return nil
			})
		})
	})
	if err != nil || found != 1 {
		t.Errorf("the secret was found %d times (%v), want once", found, err)
	}
}

// TestBackup copies under load; each copy is sound and of one moment.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	ctx := t.Context()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				op := storetest.NewOperation("op2", "other")
				op.Revision, op.Build = n, strings.Repeat("x", int(n*131%20000)) //nolint:gosec // small
				err := errors.Join(s.SaveOperation(ctx, op, false), s.PutSetting(ctx, fmt.Sprint("w", w), []byte(op.Build)))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	copies := t.TempDir()
	for i := range 20 {
		path := filepath.Join(copies, fmt.Sprint(i))
		var b bytes.Buffer
		n, err := s.Backup(ctx, &b)
		if err != nil || n != int64(b.Len()) {
			t.Fatalf("backup of %d bytes says %d (%v)", b.Len(), n, err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := store.Check(ctx, path)
		if err != nil || len(report.Findings) != 0 || report.Values["clusters"] != 2 {
			t.Errorf("copy %d: %+v (%v)", i, report, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	for _, v := range [][]byte{bytes.Repeat([]byte("x"), 1<<20), nil} {
		if err := s.PutSetting(t.Context(), "big", v); err != nil {
			t.Fatal(err)
		}
	}
	want, err := content(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	from, to := filepath.Join(dir, store.FileName), filepath.Join(dir, "compacted")
	if err := store.Compact(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(t.Context(), from, to); err == nil {
		t.Error("an existing file was written over")
	}
	before, e1 := os.Stat(from)
	after, e2 := os.Stat(to)
	if err := errors.Join(e1, e2); err != nil || after.Size() > before.Size()/4 || after.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes became %d, mode %v (%v)", before.Size(), after.Size(), after.Mode(), err)
	}
	if err := os.Rename(to, from); err != nil {
		t.Fatal(err)
	}
	if got, err := content(t.Context(), open(t, dir)); got != want || err != nil {
		t.Errorf("the compacted content (%v):\n%s", err, got)
	}
}

func TestBackupFails(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	fill(t, s)
	if _, err := s.Backup(t.Context(), brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("backup to a broken writer: %v", err)
	}
	if err := s.PutSetting(t.Context(), "after", []byte("x")); err != nil {
		t.Error(err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
