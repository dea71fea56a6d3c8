//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// slowBackup makes base backups slow enough to be met in their middle, while
// slow is set.
func slowBackup(m *machine, slow *atomic.Bool, pid *atomic.Int64) {
	m.tap = func(argv []string) ([]string, func(int)) {
		if filepath.Base(argv[0]) != "pg_basebackup" {
			return argv, func(int) {}
		}
		if slow.Load() {
			argv = append(slices.Clone(argv), "--max-rate=1M")
		}
		return argv, func(p int) { pid.Store(int64(p)) }
	}
}

// backups are the processes that write to the machine's new data directory.
func backups(t *testing.T, m *machine) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range dirs {
		if b, err := os.ReadFile(d); err == nil && strings.Contains(string(b), "\x00--pgdata="+m.layout.DataDir+".partial/data\x00") {
			out = append(out, d)
		}
	}
	return out
}

// newStandby is a machine whose slot exists, with nothing on it.
func (c *cluster) newStandby(t *testing.T) (*machine, int) {
	t.Helper()
	m := newMachine(t, "127.0.0.1")
	c.members = append(c.members, m)
	i := len(c.members) - 1
	must(t, postgres.EnsureSlot(t.Context(), c.control(t, 0, "postgres"), name(i)))
	return m, i
}

func TestCloneContinuesAfterKill(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, i := c.newStandby(t)
	var slow atomic.Bool
	var pid atomic.Int64
	slow.Store(true)
	slowBackup(m, &slow, &pid)
	m.orphan = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- postgres.Clone(ctx, m, c.cloneOptions(i), nil) }()
	// Two processes: pg_basebackup, and its child, which streams WAL.
	waitFor(t, func() bool { return len(backups(t, m)) == 2 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(m.layout.DataDir + ".partial/data"); err != nil {
		t.Errorf("the killed clone left no directory: %v", err)
	}
	if d, err := postgres.InspectDataDir(t.Context(), m); err != nil || d.Exists {
		t.Errorf("half a clone is taken for a data directory: %+v %v", d, err)
	}
	slow.Store(false)
	m.orphan = false
	o := c.cloneOptions(i)
	o.OperationID, o.Primary = "op2", c.control(t, 0, "postgres")
	var seen []appliance.Progress
	must(t, postgres.Clone(t.Context(), m, o, func(p appliance.Progress) { seen = append(seen, p) }))
	if left := backups(t, m); len(left) > 0 {
		t.Errorf("%v still run", left)
	}
	if len(seen) == 0 || seen[len(seen)-1].BytesTotal < 20<<20 {
		t.Errorf("progress %+v", seen)
	}
	if _, err := os.Stat(m.layout.DataDir + ".partial"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the partial directory is left: %v", err)
	}
	// Unconfigured, it would have the primary's identity, so it can't start.
	m.launch(t)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := postgres.WaitAccepting(ctx, m, m.host, m.port); !appliance.IsProblem(err, appliance.ErrPostgresStart) || !strings.Contains(appliance.AsProblem(err).Detail, "pgapp.conf") {
		t.Errorf("unconfigured clone: %v", err)
	}
	must(t, postgres.Configure(t.Context(), m, c.config(i)))
	m.start(t)
	must(t, postgres.WaitStreaming(t.Context(), c.control(t, 0, "postgres"), []string{name(i)}))
	// A finished clone is left alone.
	m.stop(t)
	must(t, postgres.Clone(t.Context(), m, o, nil))
	must(t, postgres.RemoveDataDir(t.Context(), m))
	must(t, postgres.RemoveDataDir(t.Context(), m))
	if d, err := postgres.InspectDataDir(t.Context(), m); err != nil || d.Exists {
		t.Errorf("%+v %v", d, err)
	}
}

func TestCloneRepeatsOnceAfterFailure(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, i := c.newStandby(t)
	var slow atomic.Bool
	var pid atomic.Int64
	slow.Store(true)
	slowBackup(m, &slow, &pid)
	done := make(chan error, 1)
	go func() { done <- postgres.Clone(t.Context(), m, c.cloneOptions(i), nil) }()
	waitFor(t, func() bool { return len(backups(t, m)) == 2 })
	slow.Store(false)
	if err := syscall.Kill(int(pid.Load()), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	must(t, <-done)
	if left := backups(t, m); len(left) > 0 {
		t.Errorf("%v still run", left)
	}
}

func TestCloneReportsFailure(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, i := c.newStandby(t)
	good := c.cloneOptions(i)
	try := func(name string, id appliance.ErrorID, want string, change func(*postgres.CloneOptions)) {
		t.Helper()
		o := good
		change(&o)
		err := postgres.Clone(t.Context(), m, o, nil)
		if !appliance.IsProblem(err, id) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s with %q", name, err, id, want)
		}
		if strings.Contains(err.Error()+appliance.AsProblem(err).Detail, "canary") {
			t.Errorf("%s: the password shows in %v", name, err)
		}
	}
	try("wrong password", appliance.ErrClone, "password authentication failed", func(o *postgres.CloneOptions) { o.ReplicatorPassword = appliance.NewSecret("canary") })
	try("another cluster", appliance.ErrClone, "belongs to another cluster", func(o *postgres.CloneOptions) { o.SystemIdentifier = "1" })
	try("no slot", appliance.ErrClone, `replication slot "nowhere" does not exist`, func(o *postgres.CloneOptions) { o.Upstream.Slot = "nowhere" })
	try("nobody there", appliance.ErrClone, "Connection refused", func(o *postgres.CloneOptions) { o.Upstream.Port = freePort(t, "127.0.0.1") })
	var slow atomic.Bool
	var pid atomic.Int64
	slow.Store(true)
	slowBackup(m, &slow, &pid)
	try("stalled", appliance.ErrClone, "no progress", func(o *postgres.CloneOptions) { o.Stall = time.Millisecond })
	slow.Store(false)

	// What isn't ours is never removed.
	precious := m.layout.DataDir + "/precious"
	if err := os.MkdirAll(m.layout.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	foreign := func() {
		t.Helper()
		try("foreign directory", appliance.ErrDataDirForeign, m.layout.DataDir, func(*postgres.CloneOptions) {})
		if err := postgres.Initdb(t.Context(), m, postgres.InitOptions{}); !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
			t.Errorf("initdb: %v", err)
		}
	}
	foreign()
	if err := postgres.RemoveDataDir(t.Context(), m); !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
		t.Errorf("remove: %v", err)
	}
	if err := os.Rename(m.layout.DataDir, m.layout.DataDir+".partial"); err != nil {
		t.Fatal(err)
	}
	foreign()
	if _, err := os.Stat(m.layout.DataDir + ".partial/precious"); err != nil {
		t.Error(err)
	}
}

func (c *cluster) cloneOptions(i int) postgres.CloneOptions {
	return postgres.CloneOptions{
		Upstream: c.upstream(i), Member: name(i), OperationID: "op1",
		ReplicatorPassword: c.secrets.Get(appliance.SecretReplicator), SyncLater: true,
	}
}
