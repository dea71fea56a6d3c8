package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

// childMode names what this test binary does when a test starts it again.
const childMode = "PGAPP_STORE_CHILD"

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files anew")
	flag.Parse()
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "write":
		os.Exit(childWrites(os.Args[len(os.Args)-1]))
	case "open":
		os.Exit(childOpens(os.Args[len(os.Args)-1]))
	case "replace":
		os.Exit(childReplaces(os.Args[len(os.Args)-1]))
	}
	os.Exit(2)
}

func updating() bool { return flag.Lookup("update").Value.String() == "true" }

// child makes a command that runs this binary as a child in the mode.
func child(ctx context.Context, t *testing.T, mode, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, dir)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	return cmd
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Store {
		st := open(t, t.TempDir())
		return storetest.Store{Records: st, Journal: st}
	})
}

// open opens the home's state and closes it at the end of the test.
func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func wantProblem(t *testing.T, err error, id appliance.ErrorID, parts ...string) {
	t.Helper()
	if !appliance.IsProblem(err, id) {
		t.Fatalf("error %v, want a problem %s", err, id)
	}
	p := appliance.AsProblem(err)
	for _, part := range parts {
		if !strings.Contains(p.Message+"\n"+p.Hint, part) {
			t.Errorf("problem %q, hint %q: want %q in it", p.Message, p.Hint, part)
		}
	}
}

// stamp is the time of everything in the tests' content.
func stamp() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC) }

// fill stores something of every kind.
func fill(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	ended := stamp().Add(time.Minute)
	done := storetest.NewOperation("op1", "main")
	done.State, done.EndedAt = appliance.OpSucceeded, &ended
	err := errors.Join(
		s.Begin(ctx, appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: storetest.NewCluster("main")}),
		s.SaveOperation(ctx, done, false),
		s.Begin(ctx, appliance.Beginning{Operation: storetest.NewOperation("op2", "other"), Create: storetest.NewCluster("other")}),
		s.PutToken(ctx, store.Token{ID: "t1", Name: "ci", Scope: store.ScopeRead, Hash: [32]byte{1, 2}, CreatedAt: stamp()}),
		s.IdempotencyPut(ctx, "key1", store.Record{BodyHash: [32]byte{3}, OperationID: "op1", CreatedAt: time.Now()}),
		s.PutSetting(ctx, "backup", []byte{0, 1, 0xFF}),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// content reads everything that fill stored, as text to compare.
func content(ctx context.Context, s *store.Store) (string, error) {
	clusters, e1 := s.Clusters(ctx)
	ops, e2 := s.Operations(ctx, "")
	tokens, e3 := s.Tokens(ctx)
	setting, e4 := s.Setting(ctx, "backup")
	rec, e5 := s.IdempotencyGet(ctx, "key1")
	sec, e6 := s.Secrets(ctx, "main")
	run, e7 := s.Running(ctx, "other")
	info, e8 := s.Info(ctx)
	return fmt.Sprintf("%+v\n%+v\n%+v\n%v\n%+v\n%d %s\n%s\n%s %d %v", clusters, ops, tokens, setting, rec.OperationID,
			len(sec.Values), sec.Get(appliance.SecretApp).Reveal(), run.ID, info.Instance, info.Schema, info.Epochs),
		errors.Join(e1, e2, e3, e4, e5, e6, e7, e8)
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	want, err := content(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	got, err := content(t.Context(), open(t, dir))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("after reopening (%v): %s", err, diff)
	}
	for _, name := range []string{store.FileName, store.LockName, store.SidecarName} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v (%v), want 0600", name, fi.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestOpenTightensMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	closeStore(t, open(t, dir))
	path := filepath.Join(dir, store.FileName)
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the fault to mend
		t.Fatal(err)
	}
	open(t, dir)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", fi.Mode(), err)
	}
}

func TestUnusableHome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, home := range map[string]string{"absent": filepath.Join(dir, "absent"), "a file": file, "below a file": filepath.Join(file, "x")} {
		_, err := store.Open(t.Context(), home, store.Options{})
		t.Run(name, func(t *testing.T) { wantProblem(t, err, appliance.ErrHomeUnusable, home, "--home") })
	}
	if _, err := os.Stat(filepath.Join(dir, "absent")); err == nil {
		t.Error("the absent home was made")
	}
	link := t.TempDir()
	if err := os.Symlink(file, filepath.Join(link, store.FileName)); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), link, store.Options{})
	wantProblem(t, err, appliance.ErrHomeUnusable, "regular")
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	fill(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	op := storetest.NewOperation("op3", "main")
	for i, err := range []error{
		s.Begin(ctx, appliance.Beginning{Operation: op}), s.SaveOperation(ctx, op, false), s.PutSetting(ctx, "backup", nil),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v, want cancelled", i, err)
		}
	}
	if _, err := s.Running(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("a cancelled Begin took effect (%v)", err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	first := storetest.NewOperation("running", "main")
	if err := s.Begin(ctx, appliance.Beginning{Operation: first, Create: storetest.NewCluster("main")}); err != nil {
		t.Fatal(err)
	}
	const n = 207
	for i := range n {
		op := storetest.NewOperation(fmt.Sprintf("op%04d", i), "other")
		op.CreatedAt = stamp().Add(time.Duration(i) * time.Second)
		var nc *appliance.NewCluster
		if i == 0 {
			nc = storetest.NewCluster("other")
		}
		ended := op
		ended.State = appliance.OpFailed
		if err := errors.Join(s.Begin(ctx, appliance.Beginning{Operation: op, Create: nc}), s.SaveOperation(ctx, ended, false)); err != nil {
			t.Fatal(err)
		}
	}
	ops, err := s.Operations(ctx, "")
	if err != nil || len(ops) != 201 || ops[0].ID != "op0206" || ops[199].ID != "op0007" || ops[200].ID != "running" {
		t.Errorf("%d operations kept (%v), want the newest 200 ended ones and the running one", len(ops), err)
	}
	got, err := s.Running(ctx, "main")
	if diff := cmp.Diff(first, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Errorf("running operation (%v): %s", err, diff)
	}
}
