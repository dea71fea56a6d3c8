package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/store"
)

func TestReadPassphrase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"sesame\n", "sesame"},
		{"two words", "two words"},
		{"windows\r\n", "windows"},
		{"ünïcode\n\n", "ünïcode"},
		{"", ""},
		{"\n", ""},
		{" leading", ""},
		{"trailing ", ""},
		{"one\ntwo\n", ""},
		{"tab\there", ""},
		{"nul\x00", ""},
	} {
		path := filepath.Join(t.TempDir(), "pass")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPassphrase(path)
		if got.Reveal() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, %v", c.text, got.Reveal(), err)
		}
		if err != nil && !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%q: %v is no usage error", c.text, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	first, err := ensureIdentity(home)
	if err != nil || len(first) != 1 {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := ensureIdentity(home)
	if err != nil || len(again) != 1 || again[0] != first[0] {
		t.Errorf("%q became %q, %v", first, again, err)
	}
	path := filepath.Join(home, identityName)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if _, ids, err := (keyFlags{identity: path}).read(); err != nil || ids.Empty() {
		t.Errorf("reading it as an identity file: %v", err)
	}
	if err := os.WriteFile(path, []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureIdentity(home); err == nil {
		t.Error("a broken identity was taken, or replaced")
	}
	if _, _, err := (keyFlags{identity: path}).read(); !appliance.IsProblem(err, appliance.ErrUsage) {
		t.Errorf("a broken identity file: %v", err)
	}
}

// TestAutomaticBackups follows a store through changes and days.
func TestAutomaticBackups(t *testing.T) {
	t.Parallel()
	ctx, home := t.Context(), t.TempDir()
	st, err := store.Open(ctx, home, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	recipients, err := ensureIdentity(home)
	if err != nil {
		t.Fatal(err)
	}
	b := &backups{home: home, st: st, log: slog.New(slog.DiscardHandler), recipients: recipients}
	now := time.Now()
	count := func(what string, want int) {
		t.Helper()
		if err := b.once(ctx, now); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		list, err := listBackups(home)
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
	o := appliance.Operation{ID: "1", Cluster: "main", Kind: appliance.OpUp, State: appliance.OpRunning, CreatedAt: now}
	create := &appliance.NewCluster{
		Cluster: appliance.Cluster{Name: "main", UUID: "u", Primary: "node0", Epoch: 1, Members: []appliance.Member{{Name: "node0"}}},
		Secrets: appliance.GenerateSecrets(),
	}
	if err := st.Begin(ctx, o, create, ""); err != nil {
		t.Fatal(err)
	}
	count("a cluster", 1)
	count("as before", 1)
	change(func(c *appliance.Cluster) { c.WantStopped, c.Members[0].WantStopped = true, true })
	count("stopped is no topology", 1)
	change(func(c *appliance.Cluster) { c.Epoch++ })
	count("another epoch", 2)
	now = now.Add(25 * time.Hour)
	count("a day later", 3)
	if err := control.SetObserveOnly(ctx, st, control.ObserveOnly{Reason: "a test", Clusters: []string{"main"}}); err != nil {
		t.Fatal(err)
	}
	change(func(c *appliance.Cluster) { c.Epoch++ })
	count("observing only", 3)
	if err := control.SetObserveOnly(ctx, st, control.ObserveOnly{}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		change(func(c *appliance.Cluster) { c.Epoch++ })
		count("more and more", min(4+i, backupsKept))
	}
}
