package statebackup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/home"
	"pgapp/store"
)

func TestEnsureIdentityKeepsTheKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := ensureIdentity(dir)
	if err != nil || len(first) != 1 {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := ensureIdentity(dir)
	if err != nil || len(again) != 1 || again[0] != first[0] {
		t.Errorf("%q became %q, %v", first, again, err)
	}
	path := filepath.Join(dir, home.BackupKey)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile(path, []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureIdentity(dir); err == nil {
		t.Error("a broken identity was taken, or replaced")
	}
}

// TestAutomaticBackups follows a store through changes and days.
func TestAutomaticBackups(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	st, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	recipients, err := ensureIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &Loop{home: dir, st: st, log: slog.New(slog.DiscardHandler), recipients: recipients}
	now := time.Now()
	count := func(what string, want int) {
		t.Helper()
		if err := b.once(ctx, now); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		list, err := List(dir)
		if err != nil || len(list) != want {
			t.Errorf("%s: %d backups, want %d, %v", what, len(list), want, err)
		}
		now = now.Add(time.Second)
	}
	change := func(f func(*appliance.Cluster)) {
		t.Helper()
		if _, err := st.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error { f(c); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	count("nothing there", 0)
	cluster(t, st)
	count("a cluster", 1)
	count("as before", 1)
	change(func(c *appliance.Cluster) { c.WantStopped, c.Members[0].WantStopped = true, true })
	count("stopped is no topology", 1)
	change(func(c *appliance.Cluster) { c.Epoch++ })
	count("another epoch", 2)
	change(func(c *appliance.Cluster) {
		c.Primary, c.Members[0].Epoch = "node1", 2
		c.Promise, c.Change = appliance.Promise{Set: []string{"node0"}, K: 1}, &appliance.PrimaryChange{Phase: appliance.ChangePromoting}
	})
	count("another primary", 3)
	change(func(c *appliance.Cluster) {
		c.Promise, c.Change = appliance.Promise{}, &appliance.PrimaryChange{Phase: appliance.ChangeDone}
		c.Members[0].Epoch, c.Members[0].Return = 3, appliance.WayRewind
	})
	count("what changes while members come and go is no topology", 3)
	now = now.Add(25 * time.Hour)
	count("a day later", 4)
	if err := control.SetObserveOnly(ctx, st, control.ObserveOnly{Reason: "a test", Clusters: []string{"main"}}); err != nil {
		t.Fatal(err)
	}
	change(func(c *appliance.Cluster) { c.Epoch++ })
	count("observing only", 4)
	if err := control.SetObserveOnly(ctx, st, control.ObserveOnly{}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		change(func(c *appliance.Cluster) { c.Epoch++ })
		count("more and more", min(5+i, kept))
	}
}

// cluster begins the creation of a cluster.
func cluster(t *testing.T, st *store.Store) {
	t.Helper()
	o := appliance.Operation{ID: "1", Cluster: "main", Kind: appliance.OpUp, State: appliance.OpRunning, CreatedAt: time.Now()}
	create := &appliance.NewCluster{
		Cluster: appliance.Cluster{Name: "main", UUID: "u", Primary: "node0", Epoch: 1, Members: []appliance.Member{{Name: "node0"}}},
		Secrets: appliance.GenerateSecrets(),
	}
	if err := st.Begin(t.Context(), appliance.Beginning{Operation: o, Create: create}); err != nil {
		t.Fatal(err)
	}
}

// TestRunReturnsTheErrorOfABackup leaves it to the supervisor to show the error
// and to try again.
func TestRunReturnsTheErrorOfABackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	l, err := New(dir, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(dir, home.BackupsDir)
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cluster(t, st)
	if err := l.Run(t.Context()); err == nil {
		t.Fatal("a backup was made below a file, or its error is lost")
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for list, err := List(dir); err != nil || len(list) == 0; list, err = List(dir) {
		if time.Now().After(deadline) {
			t.Fatalf("no backup after a second begin: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	// The end may meet the loop before it has noted the backup.
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
