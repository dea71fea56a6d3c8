//go:build integration

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// asOwner runs a program as the user that the member's data belongs to.
func (b *box) asOwner(data, input string, argv ...string) (string, error) {
	b.t.Helper()
	var st syscall.Stat_t
	b.must(syscall.Stat(data, &st))
	cmd := exec.CommandContext(b.t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin = "/", strings.NewReader(input)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *box) dataDir(member string) string {
	return filepath.Join(b.home, "clusters", "main", member, "data")
}

// superuser runs SQL over the member's socket, as its owner may.
func (b *box) superuser(member, sql string) (string, error) {
	b.t.Helper()
	return b.superuserOf(member, "postgres", sql)
}

// superuserOf is superuser in a database.
func (b *box) superuserOf(member, database, sql string) (string, error) {
	b.t.Helper()
	data := b.dataDir(member)
	socket := filepath.Join(filepath.Dir(data), "run")
	return b.asOwner(data, "", filepath.Join(pgbin(b.t), "psql"), "-XAtq", "-h", socket, "-U", "postgres", "-d", database, "-c", sql)
}

// space makes a directory that a tablespace can have.
func (b *box) space() string {
	b.t.Helper()
	dir := filepath.Join(filepath.Dir(b.home), "space")
	b.must(os.Mkdir(dir, 0o700))
	if os.Geteuid() == 0 {
		var st syscall.Stat_t
		b.must(syscall.Stat(b.dataDir("node0"), &st))
		b.must(os.Chown(dir, int(st.Uid), int(st.Gid)))
	}
	return dir
}

// TestTablespaceIsRefusedOnOneMachine has CREATE TABLESPACE refused by the
// server itself, whoever asks for it, and in the data directory too.
func TestTablespaceIsRefusedOnOneMachine(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	for _, dir := range []string{b.space(), filepath.Join(filepath.Dir(b.dataDir("node0")), "space"), filepath.Join(b.dataDir("node0"), "space")} {
		if out, err := b.asOwner(b.dataDir("node0"), "", "/bin/mkdir", "-p", dir); err != nil {
			t.Fatal(err, out)
		}
		out, err := b.superuser("node0", "CREATE TABLESPACE fast LOCATION '"+dir+"'")
		if err == nil || !strings.Contains(out, "could not create directory") {
			t.Errorf("CREATE TABLESPACE at %s: %v: %s", dir, err, out)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("the directory holds %v, %v", left, err)
		}
	}
	// What needs directories of the server's own, or files elsewhere, works.
	for _, sql := range []string{
		"CREATE DATABASE other STRATEGY file_copy",
		"ALTER DATABASE other RENAME TO another",
		"COPY (SELECT 1) TO '" + filepath.Join(filepath.Dir(b.home), "space", "file") + "'",
	} {
		if out, err := b.superuser("node0", sql); err != nil {
			t.Errorf("%s: %v: %s", sql, err, out)
		}
	}
	b.verified()
}

// TestTablespaceInSQLFileIsRefused has a script make one: nothing is kept, and
// the hint says why.
func TestTablespaceInSQLFileIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	dir := filepath.Join(filepath.Dir(b.home), "space")
	b.must(os.Mkdir(dir, 0o777))
	b.must(os.Chmod(dir, 0o777))
	if os.Geteuid() == 0 {
		// The server owns it, or PostgreSQL refuses for another reason.
		b.up("--standbys", "1", "--dataset", "none")
		var st syscall.Stat_t
		b.must(syscall.Stat(b.dataDir("node0"), &st))
		b.must(os.Chown(dir, int(st.Uid), int(st.Gid)))
		b.ok("down", "--volumes", "--yes")
	}
	file := filepath.Join(filepath.Dir(b.home), "space.sql")
	b.must(os.WriteFile(file, []byte("CREATE TABLESPACE fast LOCATION '"+dir+"';\nCREATE TABLE t (i int) TABLESPACE fast;\n"), 0o644))
	r := b.want(appliance.ExitFailed, "up", "--provider", "local", "--standbys", "1", "--dataset", "none", "--sql", file)
	if !strings.Contains(r.err, "error[sql-failed]") || !strings.Contains(r.err, "remove CREATE TABLESPACE") {
		t.Errorf("a tablespace in a script: %s", r.err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

// tablespaceApart makes a tablespace in the stopped primary, by a server that
// pgapp hasn't started.
func (b *box) tablespaceApart() {
	b.t.Helper()
	data := b.dataDir("node0")
	sql := "CREATE TABLESPACE fast LOCATION '" + b.space() + "'\n"
	if out, err := b.asOwner(data, sql, filepath.Join(pgbin(b.t), "postgres"), "--single", "-D", data, "postgres"); err != nil {
		b.t.Fatal(err, out)
	}
}

// TestScaleRefusesBesideATablespace has a lone primary keep and use its
// tablespace, and get no standby.
func TestScaleRefusesBesideATablespace(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "0", "--dataset", "none")
	b.ok("stop")
	b.tablespaceApart()
	b.ok("start")
	for _, sql := range []string{"CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000)", "CREATE DATABASE other TABLESPACE fast"} {
		if out, err := b.superuser("node0", sql); err != nil {
			t.Fatal(err, out)
		}
	}
	b.refuses(t, "scale", "--standbys", "1")
	b.refuses(t, "up", "--provider", "local", "--standbys", "1", "--dataset", "none")
	if n := len(b.ps().Members); n != 1 {
		t.Errorf("%d members after scale was refused", n)
	}
	b.verified()
}

// TestStandbyNeverReplaysATablespace has one that was made behind pgapp's back
// while the members were stopped: the standby is refused before it starts, all
// commands name the reason, and the primary's rows stay.
func TestStandbyNeverReplaysATablespace(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	b.ok("stop")
	b.tablespaceApart()
	b.refuses(t, "start")
	for _, sql := range []string{"CREATE TABLE t TABLESPACE fast AS SELECT i, repeat('x', 200) v FROM generate_series(1, 20000) i", "CHECKPOINT"} {
		if out, err := b.superuser("node0", sql); err != nil {
			t.Fatal(err, out)
		}
	}
	b.refuses(t, "start", "node1")
	b.refuses(t, "reinit", "node1")
	b.killServers()
	b.refuses(t, "start")
	if n, err := b.superuser("node0", "SELECT count(*) FROM t"); err != nil || strings.TrimSpace(n) != "20000" {
		t.Errorf("the primary's table: %v: %s", err, n)
	}
	_, v := b.verify()
	if !failedCheck(v, postgres.CheckTablespaces) {
		t.Errorf("verify says nothing of it: %+v", v.Checks)
	}
	if m := memberOf(b.ps(), "node1"); !strings.Contains(m.Detail, string(appliance.ErrTablespace)) {
		t.Errorf("ps says of node1: %+v", m)
	}
	for _, sql := range []string{"ALTER TABLE t SET TABLESPACE pg_default", "DROP TABLESPACE fast"} {
		if out, err := b.superuser("node0", sql); err != nil {
			t.Fatal(err, out)
		}
	}
	b.ok("reinit", "node1")
	b.verified()
}

func (b *box) refuses(t *testing.T, args ...string) {
	t.Helper()
	r := b.want(appliance.ExitConflict, args...)
	if !strings.Contains(r.err, "error[tablespace-local]") || !strings.Contains(r.err, "→") {
		t.Errorf("pgapp %q beside a tablespace: %s", args, r.err)
	}
}

func failedCheck(v appliance.VerifyReport, name string) bool {
	for _, c := range v.Checks {
		if c.Name == name && !c.OK {
			return true
		}
	}
	return false
}
