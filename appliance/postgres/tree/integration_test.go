//go:build integration

package tree_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance/postgres/tree"
)

// TestEmbeddedTree runs the archive that goes into the program: a cluster
// as an ordinary user, every extension, a base backup.
func TestEmbeddedTree(t *testing.T) {
	archive := os.DirFS("../../../embed/pgtree/tree")
	if _, err := tree.ReadManifest(archive); err != nil {
		t.Fatalf("run scripts/build/pgtree first: %v", err)
	}
	// Not t.TempDir: another user can't enter it.
	dir, err := os.MkdirTemp("", "pgtree")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))

	start := time.Now()
	found, err := tree.Find(t.Context(), tree.Search{HostDirs: []string{}, Archive: archive, UnpackDir: filepath.Join(dir, "trees")})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("unpacked PostgreSQL %s in %v", found.Version, time.Since(start).Round(time.Millisecond))
	start = time.Now()
	again, err := tree.Find(t.Context(), tree.Search{HostDirs: []string{}, Archive: archive, UnpackDir: filepath.Join(dir, "trees")})
	if err != nil || again.Dir != found.Dir {
		t.Fatalf("got %+v, %v; want %+v", again, err, found)
	}
	t.Logf("found it again in %v", time.Since(start).Round(time.Millisecond))
	if version, err := tree.Probe(t.Context(), found.Dir); err != nil || version != found.Version {
		t.Errorf("Probe = %q, %v; want %q", version, err, found.Version)
	}

	c := newCluster(t, found, dir)
	c.initdb(t)
	c.start(t)
	c.extensions(t)
	c.backup(t)
}

type cluster struct {
	found     tree.Binaries
	dir, data string
	user      *syscall.Credential
}

// newCluster prepares a directory of a user who may run PostgreSQL, which root may not.
func newCluster(t *testing.T, found tree.Binaries, dir string) *cluster {
	t.Helper()
	c := &cluster{found: found, dir: filepath.Join(dir, "run")}
	c.data = filepath.Join(c.dir, "data")
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		c.user = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chown(c.dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// command runs a program of the tree as a user with a foreign LANG would.
func (c *cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.found.Dir, program), args...)
	cmd.Dir = c.dir
	cmd.Env = append(c.found.Env(), "PATH=/nonexistent", "LANG=xx_YY.UTF-8", "HOME="+c.dir,
		// DT_RPATH has to win over what the user's environment says.
		"LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user}
	return cmd
}

func (c *cluster) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := c.command(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *cluster) psql(t *testing.T, sql string) string {
	t.Helper()
	return strings.TrimSpace(c.run(t, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", c.dir, "-U", "postgres", "-d", "postgres", "-c", sql))
}

func (c *cluster) initdb(t *testing.T) {
	t.Helper()
	c.run(t, "initdb", "-k", "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C.UTF-8",
		"--locale-provider=builtin", "--builtin-locale=C.UTF-8", "-D", c.data)
}

// start starts a postmaster, whose output is kept, and stops it when the test ends.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	var log bytes.Buffer
	server := c.command(context.WithoutCancel(t.Context()), "postgres", "-D", c.data, "-k", c.dir, "-c", "listen_addresses=",
		"-c", "shared_preload_libraries=pg_stat_statements,auto_explain,pg_prewarm", "-c", "fsync=off")
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := server.Wait(); err != nil {
			t.Errorf("postgres: %v\n%s", err, log.String())
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for c.command(t.Context(), "pg_isready", "-q", "-h", c.dir).Run() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server doesn't answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(server.Process.Pid) + "/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "postgres" {
		t.Errorf("ps shows the server as %q (%v), want postgres", comm, err)
	}
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(server.Process.Pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSuffix(c.found.Dir, "/usr/lib/postgresql/17/bin")
	for line := range strings.Lines(string(maps)) {
		if file := line[max(0, strings.IndexByte(line, '/')):]; strings.Contains(file, ".so") && !strings.HasPrefix(file, root) {
			t.Errorf("the server has mapped %s", file)
		}
	}
}

// extensions creates every extension that the tree has, which loads its module and
// libraries.
func (c *cluster) extensions(t *testing.T) {
	t.Helper()
	names := strings.Fields(c.psql(t, "SELECT name FROM pg_available_extensions ORDER BY name"))
	if len(names) < 40 {
		t.Errorf("got only the extensions %v", names)
	}
	for _, name := range names {
		c.psql(t, `CREATE EXTENSION IF NOT EXISTS "`+name+`" CASCADE`)
	}
	for sql, want := range map[string]string{
		`SELECT lower('ÄÖ')`:                                                     "äö",
		`SELECT to_tsvector('english', 'running dogs')`:                          "'dog':2 'run':1",
		`SELECT 'b' < 'A' COLLATE "en-x-icu"`:                                    "f",
		`SELECT uuid_generate_v5(uuid_ns_dns(), 'a') IS NOT NULL`:                "t",
		`SELECT xpath_string('<a>x</a>', '/a')`:                                  "x",
		`SELECT '2026-07-01 12:00+00'::timestamptz AT TIME ZONE 'Europe/Berlin'`: "2026-07-01 14:00:00",
		`SELECT count(*) > 0 FROM pg_stat_statements`:                            "t",
		`SELECT encode(digest('a', 'sha256'), 'hex') LIKE 'ca978112%'`:           "t",
	} {
		if got := c.psql(t, sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
}

func (c *cluster) backup(t *testing.T) {
	t.Helper()
	copied := filepath.Join(c.dir, "copy")
	c.run(t, "pg_basebackup", "-h", c.dir, "-U", "postgres", "-D", copied, "-X", "stream", "-c", "fast")
	c.run(t, "pg_verifybackup", copied)
	state := func(dir string) string {
		for line := range strings.Lines(c.run(t, "pg_controldata", dir)) {
			if strings.HasPrefix(line, "Database system identifier:") {
				return line
			}
		}
		return ""
	}
	if a, b := state(c.data), state(copied); a == "" || a != b {
		t.Errorf("system identifiers are %q and %q", a, b)
	}
	dump := c.run(t, "pg_dump", "-h", c.dir, "-U", "postgres", "postgres")
	if !strings.Contains(dump, "PostgreSQL database dump complete") {
		t.Error("pg_dump wrote no whole dump")
	}
}

// BenchmarkUnpack times the first start of the program.
func BenchmarkUnpack(b *testing.B) {
	archive := os.DirFS("../../../embed/pgtree/tree")
	for b.Loop() {
		if _, _, err := tree.Unpack(b.Context(), archive, b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}
