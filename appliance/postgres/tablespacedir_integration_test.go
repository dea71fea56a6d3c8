//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// ownMachine is a machine to which the directory at apart is empty at first,
// whatever the other members have there.
type ownMachine struct {
	*machine
	namespace *os.File
	apart     string
}

// newOwn makes the next standby's machine.
func (c *cluster) newOwn(t *testing.T, apart string) (ownMachine, postgres.CloneOptions) {
	t.Helper()
	m, i := c.newStandby(t)
	own := ownMachine{machine: m, apart: apart}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		made <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("none", apart, "tmpfs", 0, "mode=0755"); err != nil {
				return err
			}
			var err error
			own.namespace, err = os.Open("/proc/thread-self/ns/mnt")
			return err
		}()
	}()
	must(t, <-made)
	t.Cleanup(func() { own.namespace.Close() })
	o := c.cloneOptions(i)
	o.Primary = c.control(t, 0, "postgres")
	return own, o
}

// there runs f, and what it starts, where the machine is.
func (m ownMachine) there(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(m.namespace.Fd()), unix.CLONE_NEWNS)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (m ownMachine) Run(ctx context.Context, c appliance.Command) (res appliance.Result, err error) {
	err = m.there(func() (err error) {
		res, err = m.machine.Run(ctx, c)
		return err
	})
	return res, err
}

func (m ownMachine) MakeDir(_ context.Context, dir string) (made bool, err error) {
	err = m.there(func() error {
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err == nil && m.cred != nil {
			err = os.Chown(dir, int(m.cred.Uid), int(m.cred.Gid))
		}
		made = err == nil
		return err
	})
	return made, err
}

// run configures the cloned standby and starts it.
func (m ownMachine) run(t *testing.T, c *cluster) {
	t.Helper()
	i := len(c.members) - 1
	must(t, postgres.Configure(t.Context(), m, c.config(i)))
	must(t, m.there(func() error {
		m.start(t)
		return nil
	}))
	must(t, postgres.WaitStreaming(t.Context(), c.control(t, 0, "postgres"), []string{name(i)}))
}

// whyEnded is the error of a server that ends while it starts.
func (m ownMachine) whyEnded(t *testing.T) error {
	t.Helper()
	waitFor(t, func() bool { running, _ := m.ServerRunning(t.Context()); return !running })
	err := postgres.WaitAccepting(t.Context(), m, m.host, m.port)
	if err == nil {
		t.Error("the server accepts")
	}
	return err
}

func (m ownMachine) content(t *testing.T, dir string) (out []string) {
	t.Helper()
	must(t, m.there(func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return err
	}))
	return out
}

// tablespaceHome is where tablespaces are to lie.
func tablespaceHome(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a file system view of a member's own needs root")
	}
	dir, err := os.MkdirTemp("", "pgts")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// makeTablespace makes one with a table of 300000 rows.
func (c *cluster) makeTablespace(t *testing.T, home, name string) string {
	t.Helper()
	dir := filepath.Join(home, name)
	must(t, os.Mkdir(dir, 0o700))
	c.members[0].chown(t, dir)
	c.sql(t, 0, "postgres", "CREATE TABLESPACE "+name+" LOCATION '"+dir+"'")
	c.sql(t, 0, "postgres", "CREATE TABLE public.of_"+name+" TABLESPACE "+name+" AS SELECT generate_series(1, 300000) AS id")
	return dir
}

func (c *cluster) wantRows(t *testing.T, i int, table string) {
	t.Helper()
	waitFor(t, func() bool {
		return c.sql(t, 0, "postgres", "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_flush_lsn()") == "0"
	})
	if got := c.sql(t, i, "postgres", "SELECT count(*) FROM public."+table); got != "300000" {
		t.Errorf("%s on %s has %s rows", table, name(i), got)
	}
}

func TestStandbyOnOwnMachineHasTablespaces(t *testing.T) {
	t.Parallel()
	home := tablespaceHome(t)
	c := newPrimary(t)
	first := c.makeTablespace(t, home, "first")
	m, o := c.newOwn(t, home)
	must(t, postgres.Clone(t.Context(), m, o, nil))
	m.run(t, c)
	c.wantRows(t, 1, "of_first")

	// One that is made later ends a standby that has no directory for it.
	second := c.makeTablespace(t, home, "second")
	waitFor(t, func() bool { running, _ := m.ServerRunning(t.Context()); return !running })
	if got := postgres.LoggedMissing(t.Context(), m); len(got) != 1 || got[0] != second {
		t.Errorf("the log tells of %q", got)
	}
	third := c.makeTablespace(t, home, "third")
	c.sql(t, 0, "postgres", "DROP TABLE public.of_third")
	c.sql(t, 0, "postgres", "DROP TABLESPACE third")
	locations, err := o.Primary.TablespaceLocations(t.Context())
	must(t, err)
	made, err := postgres.MakeTablespaceDirs(t.Context(), m, locations)
	if must(t, err); len(made) != 1 || made[0] != second {
		t.Errorf("made %q", made)
	}
	must(t, m.there(func() error {
		m.launch(t)
		return nil
	}))
	missing := postgres.MissingTablespaces(m.whyEnded(t))
	if !slices.Contains(missing, third) {
		t.Errorf("missing: %q", missing)
	}
	_, err = postgres.MakeTablespaceDirs(t.Context(), m, missing)
	must(t, err)
	m.run(t, c)
	c.wantRows(t, 1, "of_second")

	m.stop(t)
	if got := postgres.LoggedMissing(t.Context(), m); len(got) > 0 {
		t.Errorf("%q are there", got)
	}
	must(t, postgres.RemoveDataDir(t.Context(), m))
	if left := append(m.content(t, first), m.content(t, second)...); len(left) > 0 {
		t.Errorf("%q are left of the tablespaces", left)
	}
	must(t, postgres.Clone(t.Context(), m, o, nil))
	m.run(t, c)
	c.wantRows(t, 1, "of_second")
	c.wantRows(t, 0, "of_first")
}

func TestCloneClearsTablespacesOfKilledClone(t *testing.T) {
	t.Parallel()
	home := tablespaceHome(t)
	c := newPrimary(t)
	dir := c.makeTablespace(t, home, "first")
	m, o := c.newOwn(t, home)
	var slow atomic.Bool
	var pid atomic.Int64
	slow.Store(true)
	slowBackup(m.machine, &slow, &pid)
	m.orphan = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- postgres.Clone(ctx, m, o, nil) }()
	waitFor(t, func() bool {
		return len(backups(t, m.machine)) == 2 && len(m.content(t, home)) == 1 && len(m.content(t, dir)) == 1
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	slow.Store(false)
	m.orphan = false
	must(t, postgres.Clone(t.Context(), m, o, nil))
	m.run(t, c)
	c.wantRows(t, 1, "of_first")
}

func TestCloneKeepsForeignTablespaceFiles(t *testing.T) {
	t.Parallel()
	home := tablespaceHome(t)
	c := newPrimary(t)
	dir := c.makeTablespace(t, home, "first")
	m, o := c.newOwn(t, home)
	version := filepath.Join(dir, "PG_17_202406281") // as of another server
	must(t, m.there(func() error { return os.MkdirAll(version, 0o755) }))
	for range 2 {
		err := postgres.Clone(t.Context(), m, o, nil)
		if !appliance.IsProblem(err, appliance.ErrDataDirForeign) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("got %v", err)
		}
	}
	if left := m.content(t, dir); len(left) != 1 {
		t.Errorf("%q is left", left)
	}
	must(t, m.there(func() error { return os.Remove(version) }))
	must(t, m.there(func() error { return os.Chown(dir, int(m.cred.Uid), int(m.cred.Gid)) }))
	must(t, postgres.Clone(t.Context(), m, o, nil))
}

// TestRemoveDataDirKeepsSharedTablespaces has links to a directory that is the
// primary's, too.
func TestRemoveDataDirKeepsSharedTablespaces(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	m := newMachine(t, "127.0.0.1")
	must(t, postgres.Initdb(t.Context(), m, postgres.InitOptions{SyncLater: true}))
	version := filepath.Join(home, "PG_17_202406281")
	must(t, os.Mkdir(version, 0o755))
	must(t, os.Symlink(home, filepath.Join(m.layout.DataDir, "pg_tblspc", "16385")))
	must(t, postgres.RemoveDataDir(t.Context(), m))
	if _, err := os.Stat(version); err != nil {
		t.Errorf("the primary's tablespace: %v", err)
	}
}

// TestRemoveDataDirBesideAnotherRemoval has the script that a killed daemon left
// running beside its successor's.
func TestRemoveDataDirBesideAnotherRemoval(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "127.0.0.1")
	partial := m.layout.DataDir + ".partial"
	for range 30 {
		_, err := m.Run(t.Context(), appliance.Command{Argv: []string{"sh", "-ec", `mkdir -p "$1/data/base"; : >"$1/.pgapp"`, "sh", partial}})
		must(t, err)
		errs := make(chan error, 2)
		for range 2 {
			go func() { errs <- postgres.RemoveDataDir(t.Context(), m) }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Lstat(partial); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the partial directory is still there: %v", err)
		}
	}
}
