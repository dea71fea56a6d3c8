//go:build integration

package pagila_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/embed/pagila"
)

const defaultBinDir = "/usr/lib/postgresql/17/bin"

// server is a PostgreSQL 17 of the test's own, reachable by a unix socket only.
type server struct {
	bin        string
	socketDir  string
	credential *syscall.Credential // nil: the test's own user
}

// startServer makes a cluster in a temporary directory and runs it until the test ends.
// PostgreSQL refuses to run as root, so for root it runs as another user.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{bin: findBinaries(t), credential: unprivileged(t), socketDir: privateDir(t)}
	dataDir := filepath.Join(privateDir(t), "data")
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.socketDir, dataDir} {
		s.handOver(t, dir)
	}
	s.run(t, "initdb", "-D", dataDir, "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8",
		"--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	s.launch(t, dataDir)
	s.send(t, "postgres", "postgres", "CREATE ROLE app LOGIN", nil)
	return s
}

// launch runs the postmaster and returns when it answers.
func (s *server) launch(t *testing.T, dataDir string) {
	t.Helper()
	var log bytes.Buffer
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		// Pdeathsig follows the thread that forks, so the thread must outlive the
		// process; with it a test killed by its time-out leaves no server behind.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := s.command(ctx, "postgres", "-D", dataDir, "-c", "listen_addresses=", "-c", "unix_socket_directories="+s.socketDir,
			"-c", "fsync=off", "-c", "jit=off", "-c", "timezone=UTC", "-c", "logging_collector=off")
		cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
		cmd.Stdout, cmd.Stderr = &log, &log
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // a fast shutdown
		cmd.WaitDelay = 30 * time.Second
		ended <- cmd.Run()
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("stopping postgres: %v\n%s", err, log.String())
		}
	})
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for s.command(t.Context(), "pg_isready", "-q", "-h", s.socketDir).Run() != nil {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("postgres ended while starting: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("postgres did not answer within 30 s")
		case <-tick.C:
		}
	}
}

// createDatabase makes an empty database of role app with the given options and returns
// its name.
func (s *server) createDatabase(t *testing.T, name, options string) string {
	t.Helper()
	s.send(t, "postgres", "postgres", fmt.Sprintf("CREATE DATABASE %s OWNER app TEMPLATE template0 %s", name, options), nil)
	return name
}

// loadOurs makes a database and loads the package's files into it as its owner, in one
// transaction.
func (s *server) loadOurs(t *testing.T, name string) string {
	t.Helper()
	s.createDatabase(t, name, "")
	args := []string{"--single-transaction"}
	for _, file := range pagila.Files() {
		args = append(args, "-f", s.readable(t, file))
	}
	if out := s.psql(t, "app", name, args...); len(bytes.TrimSpace(out)) != 0 {
		t.Errorf("loading printed %q, want nothing", out)
	}
	return name
}

// readable copies a file to where the server's user may read it.
func (s *server) readable(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(privateDir(t), filepath.Base(path))
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// psql runs psql and returns its output: rows without header, columns parted by "|".
func (s *server) psql(t *testing.T, role, database string, args ...string) []byte {
	t.Helper()
	return s.run(t, "psql", append([]string{"-XAtq", "-v", "ON_ERROR_STOP=1", "-h", s.socketDir, "-U", role, "-d", database}, args...)...)
}

// query returns the rows of one or more statements run as the database's owner.
func (s *server) query(t *testing.T, database, sql string) string {
	t.Helper()
	return s.send(t, "app", database, sql, nil)
}

// send sends SQL as one message of the simple protocol, on a connection of its own, and
// returns all rows in psql's unaligned form: a line a row, "|" between columns.
func (s *server) send(t *testing.T, role, database, sql string, settings map[string]string) string {
	t.Helper()
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=%s user=%s dbname=%s sslmode=disable", s.socketDir, role, database))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range settings {
		config.RuntimeParams[name] = value
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { t.Errorf("the server warned: %s", n.Message) }
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%.300s: %v", sql, err)
	}
	var lines []string
	for _, result := range results {
		for _, row := range result.Rows {
			lines = append(lines, string(bytes.Join(row, []byte("|"))))
		}
	}
	return strings.Join(lines, "\n")
}

// run runs a program of PostgreSQL and returns its standard output.
func (s *server) run(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	cmd := s.command(t.Context(), program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", program, args, err, stdout.String(), stderr.String())
	}
	if stderr.Len() != 0 {
		t.Errorf("%s %q: warned: %s", program, args, stderr.String())
	}
	return stdout.Bytes()
}

func (s *server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C", "HOME=" + s.socketDir}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return cmd
}

// handOver gives a directory to the server's user.
func (s *server) handOver(t *testing.T, dir string) {
	t.Helper()
	if s.credential == nil {
		return
	}
	if err := os.Chown(dir, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
		t.Fatal(err)
	}
}

// privateDir is t.TempDir, which another user may traverse.
func privateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if len(dir) > 90 { // a socket's whole path has at most 107 bytes
		t.Fatalf("the temporary directory's path is too long for a socket: set TMPDIR to a shorter one than %s", os.TempDir())
	}
	return dir
}

// findBinaries returns the directory of a PostgreSQL 17's programs.
func findBinaries(t *testing.T) string {
	t.Helper()
	const mend = "set PGAPP_TEST_PGBIN to the bin directory of a PostgreSQL 17, or install Debian 13's packages postgresql-17 and postgresql-client-17"
	dir := os.Getenv("PGAPP_TEST_PGBIN")
	if dir == "" {
		dir = defaultBinDir
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		t.Fatalf("no PostgreSQL 17 in %s (%v): %s", dir, err, mend)
	}
	if !strings.HasPrefix(string(out), "postgres (PostgreSQL) 17") {
		t.Fatalf("%s holds %q: %s", dir, strings.TrimSpace(string(out)), mend)
	}
	return dir
}

// unprivileged returns the identity to run PostgreSQL with: nil unless the test is root.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL refuses to run as root, and there is no user postgres or nobody: make one, or run the test as an ordinary user")
	return nil
}
