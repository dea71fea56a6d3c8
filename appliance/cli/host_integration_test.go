//go:build integration

package cli_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// TestClustersSideBySide has four clusters in one home.
func TestClustersSideBySide(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	ids, places := map[string]bool{}, map[string]bool{}
	for _, name := range []string{"main", "shop", "lab-2", "x"} {
		s := b.up("--cluster", name, "--standbys", "1")
		ids[s.SystemIdentifier] = true
		for _, m := range s.Members {
			places[fmt.Sprintf("%s:%d", m.Host, m.Port)] = true
		}
	}
	if len(ids) != 4 || len(places) != 8 {
		t.Errorf("%d system identifiers and %d addresses of 4 clusters with 8 members", len(ids), len(places))
	}
	b.ok("down", "--volumes", "--yes", "--cluster", "shop")
	b.want(appliance.ExitNotFound, "ps", "--cluster", "shop")
	for _, name := range []string{"main", "lab-2", "x"} {
		b.verified("--cluster", name)
	}
	if n := b.rows("SELECT count(*) FROM film", "--cluster", "x"); n != "1000" {
		t.Errorf("x has %s films", n)
	}
}

// TestStrangeLocale has a locale in the environment that isn't there.
func TestStrangeLocale(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.env = []string{
		"LANG=xx_YY.UTF-8", "LC_ALL=garbage", "LANGUAGE=;;", "LC_MESSAGES=de_DE", "PGHOST=/nowhere", "PGPORT=1", "PGDATA=/nowhere",
		"PGOPTIONS=-c nonsense=1", "PGUSER=nobody", "PGPASSWORD=wrong", "PGSSLMODE=require", "PGSERVICE=none", "PGHOSTADDR=192.0.2.1", "TZ=Nowhere/Land",
	}
	b.up("--standbys", "1", "--postgres-bin", pgbin(t))
	b.verified()
	b.env = append(b.env, "PGOPTIONS=") // this one is the user's to set
	if n := b.rows("SELECT count(*) FROM film"); n != "1000" {
		t.Errorf("%s films", n)
	}
}

// TestUpAvoidsATakenPort has another server on PostgreSQL's port, on all addresses.
func TestUpAvoidsATakenPort(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	if isolated() {
		b.must(b.net.in(func() error {
			var lc net.ListenConfig
			l, err := lc.Listen(t.Context(), "tcp4", "0.0.0.0:5432")
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		}))
	} else {
		t.Log("SKIPPED in part: on a network that is shared, port 5432 may be another test's")
	}
	s := b.up("--standbys", "1")
	for _, m := range s.Members {
		if m.Port == 5432 && isolated() {
			t.Errorf("%s is at %s:%d", m.Name, m.Host, m.Port)
		}
	}
	b.verified()
	// A port that is taken while the cluster is stopped is an error with a word of advice.
	b.ok("stop", "node1")
	m := memberOf(s, "node1")
	var thief net.Listener
	b.must(b.net.in(func() (err error) {
		var lc net.ListenConfig
		thief, err = lc.Listen(t.Context(), "tcp4", fmt.Sprintf("%s:%d", m.Host, m.Port))
		return err
	}))
	r := b.want(appliance.ExitHost, "start", "node1")
	if !strings.Contains(r.err, "error[host-port-taken]") || !strings.Contains(r.err, "→") {
		t.Errorf("a taken port: %s", r.err)
	}
	b.must(thief.Close())
	b.ok("start", "node1")
	b.verified()
}

// mounted gives the box a home on a file system of its own.
func mounted(t *testing.T, options string) (*box, string) {
	t.Helper()
	if !isolated() {
		t.Skip("SKIPPED: mounting needs root and namespaces")
	}
	dir, err := os.MkdirTemp(homesDir(), "mount-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := unix.Mount("pgapp-test", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return newBoxAt(t, filepath.Join(dir, "home")), dir
}

// TestFullDisk has too little room, then too little in the middle of the work.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b, dir := mounted(t, "size=600m,mode=0711")
	b.shareTree()
	args := []string{"up", "--provider", "local", "--standbys", "1", "--postgres-bin", pgbin(t)}
	b.ok("info")
	// Nothing at all: found before anything is made.
	filler := b.fillUp(dir, 8<<20)
	r := b.want(appliance.ExitHost, args...)
	if !strings.Contains(r.err, "error[host-no-space]") || !strings.Contains(r.err, "→") {
		t.Errorf("no room: %s", r.err)
	}
	b.must(os.Remove(filler))
	// Room for the beginning only: it goes away while the data set is loaded.
	_, wait := b.background(args...)
	for {
		if _, err := os.Stat(filepath.Join(b.home, "clusters", "main", "node0", "data")); err == nil {
			break
		}
	}
	filler = b.fillUp(dir, 2<<20)
	r = wait()
	// Who meets the full disk first, and how, is chance.
	if r.code != 0 && !strings.Contains(r.err, "error[") {
		t.Errorf("the disk became full: exit code %d\n%s", r.code, r.err)
	}
	t.Logf("the disk became full: exit code %d\n%s", r.code, r.err)
	b.must(os.Remove(filler))
	b.ok(args...)
	b.verified()
}

// TestReadOnlyHome has a home that can't be written, at first.
func TestReadOnlyHome(t *testing.T) {
	t.Parallel()
	b, dir := mounted(t, "size=600m,mode=0711")
	b.shareTree()
	remount := func(flags uintptr) {
		t.Helper()
		b.must(unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""))
	}
	remount(unix.MS_RDONLY)
	r := b.want(appliance.ExitHost, "up", "--provider", "local", "--standbys", "1")
	if !strings.Contains(r.err, "error[host-read-only]") || !strings.Contains(r.err, "→") {
		t.Errorf("a home that can't be written: %s", r.err)
	}
	remount(0)
	b.up("--standbys", "1")
	b.verified()
}

// TestForeignDataDir has something of the user's where a member would go.
func TestForeignDataDir(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]string{"a cluster's": "clusters/main", "a member's": "clusters/main/node1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t).shareTree()
			file := filepath.Join(b.home, place, "diary.txt")
			b.must(os.MkdirAll(filepath.Dir(file), 0o755))
			b.must(os.WriteFile(file, []byte("mine"), 0o644))
			leave := b.gate()
			r := b.want(1, "up", "--provider", "local", "--standbys", "1")
			leave()
			if !strings.Contains(r.err, "error[data-dir-foreign]") || !strings.Contains(r.err, "→") {
				t.Errorf("a foreign directory: %s", r.err)
			}
			r = b.run("down", "--volumes", "--yes")
			if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
				t.Fatalf("the user's file: %q, %v, after down --volumes: exit code %d\n%s", data, err, r.code, r.err)
			}
			b.must(os.RemoveAll(filepath.Join(b.home, "clusters")))
			b.up("--standbys", "1")
			b.verified()
		})
	}
}

// TestOrdinaryUser runs everything as a user without rights or a home of
// their own.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	b := ordinaryBox(t)
	b.up("--standbys", "1")
	b.verified()
	if n := b.rows("SELECT count(*) FROM film"); n != "1000" {
		t.Errorf("%s films", n)
	}
	if who := b.rows("SELECT current_setting('is_superuser')", "--role", "admin", "node1"); who != "on" {
		t.Errorf("a superuser: %s", who)
	}
	b.killDaemon()
	b.killServers()
	b.ok("info")
	settled(t, b, "node1", appliance.StateStreaming)
	b.verified()
	b.ok("down")
	b.ok("up")
	b.verified()
}
