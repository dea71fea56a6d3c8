//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

const ctrlC = "\x03"

// TestPsqlOnATerminal cancels queries with Ctrl-C, more than once, and leaves
// by \q, as in psql alone: as owner and as superuser.
func TestPsqlOnATerminal(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "0", "--dataset", "none")
	for _, role := range []string{"rw", "admin"} {
		cmd := b.command(context.WithoutCancel(t.Context()), "psql", "--role", role, "--", "-X", "-P", "pager=off")
		cmd.Env = append(cmd.Env, "PSQL_HISTORY=/dev/null", "TERM=xterm")
		s := onTerminal(t, cmd, 80)
		s.see(1, "pagila=")
		for n := 1; n <= 2; n++ {
			s.enter(fmt.Sprintf("SELECT pg_sleep(600 + %d);\r", n))
			s.until("running query", func() bool {
				return b.rows(fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600 + %d);'", n), "--role", "admin") == "1"
			})
			s.enter(ctrlC)
			s.see(n, "canceling statement due to user request")
			s.enter(fmt.Sprintf("SELECT 40 + %d AS after;\r", n))
			s.see(1, fmt.Sprintf("   %d\r\n", 40+n))
		}
		s.enter("\\q\r")
		if code := s.end(); code != 0 || strings.Count(s.text(), "canceling statement") != 2 {
			t.Errorf("role %s: exit code %d; the terminal shows:\n%s", role, code, s.text())
		}
	}
}

// TestPsqlIsThisProcess wants signals to meet psql itself, and its exit code
// to come out.
func TestPsqlIsThisProcess(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "0", "--dataset", "none")
	file := filepath.Join(filepath.Dir(b.home), "fails.sql")
	b.must(os.WriteFile(file, []byte("SELECT 1/0;\n"), 0o644)) //nolint:gosec // the server's user reads it
	for _, role := range []string{"rw", "admin"} {
		b.want(1, "psql", "--role", role, "--", "-X", "-c", "SELECT 1/0")
		b.want(3, "psql", "--role", role, "--", "-X", "-v", "ON_ERROR_STOP=1", "-f", file)
		b.want(2, "psql", "--role", role, "--", "-X", "-d", "nowhere")
	}
	cmd, wait := b.background("psql", "--", "-X", "-c", "SELECT pg_sleep(600)")
	s := &session{t: t}
	s.until("running query", func() bool {
		return b.rows("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'", "--role", "admin") == "1"
	})
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
	if err != nil || string(name) != "psql\n" {
		t.Errorf("the process is %q, %v", name, err)
	}
	b.must(cmd.Process.Signal(syscall.SIGINT))
	if r := wait(); r.code != 1 || !strings.Contains(r.err, "canceling statement due to user request") {
		t.Errorf("after SIGINT: exit code %d, %s", r.code, r.err)
	}
	cmd, wait = b.background("psql", "--", "-X", "-c", "SELECT pg_sleep(601)")
	s.until("running query", func() bool {
		return b.rows("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(601)'", "--role", "admin") == "1"
	})
	b.must(cmd.Process.Signal(syscall.SIGTERM))
	wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGTERM {
		t.Errorf("after SIGTERM: %s", cmd.ProcessState)
	}
}

// TestPsqlAsSuperuser does what only a superuser may, on the primary and on a
// named standby.
func TestPsqlAsSuperuser(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	const who = "SELECT current_user, current_setting('is_superuser'), current_database(), pg_is_in_recovery()"
	if got := b.rows(who, "--role", "admin"); got != "postgres|on|pagila|f" {
		t.Errorf("on the primary: %s", got)
	}
	if got := b.rows(who, "--role", "admin", "node1"); got != "postgres|on|pagila|t" {
		t.Errorf("on the standby: %s", got)
	}
	b.rows("CREATE EXTENSION pg_trgm", "--role", "admin")
	b.rows("ALTER SYSTEM SET log_min_duration_statement = '5s'", "--role", "admin")
	cmd := b.command(t.Context(), "psql", "--role", "admin", "--", "-XAtq")
	cmd.Stdin = strings.NewReader("CREATE ROLE clerk;\n\\c postgres\nSELECT rolname FROM pg_roles WHERE rolname = 'clerk';\n")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if out, err := cmd.Output(); err != nil || string(out) != "clerk\n" {
		t.Errorf("from standard input: %v, %q, %s", err, out, errs.String())
	}
	b.want(appliance.ExitNotFound, "psql", "--role", "admin", "node7")
	b.ok("stop", "node1")
	if r := b.want(2, "psql", "--role", "admin", "node1", "--", "-c", "SELECT 1"); !strings.Contains(r.err, "run/.s.PGSQL") {
		t.Errorf("with the member stopped: %s", r.err)
	}
}

// TestUpNamesTheProgramAsTyped runs the example that up ends with, from a path
// that needs quotes, with a home that does.
func TestUpNamesTheProgramAsTyped(t *testing.T) {
	t.Parallel()
	for _, dataset := range []string{"none", "pagila"} {
		b := oddBox(t)
		b.env = append(b.env, "PGAPP_HOME=/nowhere")
		link := filepath.Join(filepath.Dir(b.home), "the app's")
		b.must(os.Symlink(b.bin, link))
		b.bin = link
		leave := b.gate()
		r := b.ok("up", "--home", b.home, "--provider", "local", "--standbys", "0", "--dataset", dataset)
		leave()
		b.env = nil
		var line string
		for l := range strings.Lines(r.err) {
			if rest, ok := strings.CutPrefix(l, "  psql     "); ok {
				line = rest
			}
		}
		out, err := b.tool("sh", "-c", "PGAPP_HOME=/nowhere "+line).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "(1 row)") {
			t.Errorf("data set %s: %q says %s, %v", dataset, line, out, err)
		}
	}
}

// oddBox is a box whose home's path needs quotes everywhere.
func oddBox(t *testing.T) *box {
	t.Helper()
	dir, err := os.MkdirTemp(homesDir(), "box-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return newBoxAt(t, filepath.Join(dir, `my home 100%`)).shareTree()
}

// TestURLInAnOddHome connects with each string, through the tree's libpq,
// Debian's, and pgx.
func TestURLInAnOddHome(t *testing.T) {
	t.Parallel()
	b := oddBox(t)
	b.up("--standbys", "1")
	const script = `import sys, psycopg2
with psycopg2.connect(sys.argv[1]) as c, c.cursor() as k:
    k.execute("SELECT count(*), pg_is_in_recovery() FROM film")
    print(k.fetchone())`
	for _, c := range []struct{ args, recovery string }{
		{"--role rw", "False"}, {"--role ro", "True"}, {"--role any", "False"}, {"--host node1", "True"}, {"--host node0", "False"},
	} {
		args := append([]string{"url"}, strings.Fields(c.args)...)
		text := strings.TrimSpace(b.ok(args...).out)
		psql(t, b, "-w", "-d", text)
		psql(t, b, "-w", "-d", strings.TrimSpace(b.ok(append(args, "--driver", "libpq16")...).out))
		if out, err := b.tool("/usr/bin/python3", "-c", script, text).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "(1000, "+c.recovery+")" {
			t.Errorf("psycopg2 with url %s: %v, %s (it needs the package python3-psycopg2: run scripts/test as root)", c.args, err, out)
		}
		b.connect(strings.TrimSpace(b.ok(append(args, "--driver", "pgx")...).out))
		env := b.tool("sh", "-c", b.ok(append(args, "--driver", "env")...).out+"\nexec "+pgbin(t)+"/psql -wXAtc 'SELECT count(*) FROM film'")
		if out, err := env.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1000" {
			t.Errorf("with the variables of url %s: %v, %s", c.args, err, out)
		}
	}
	b.want(appliance.ExitNotFound, "url", "--host", "node7")
	if r := b.ok("url", "--driver", "jdbc"); !strings.Contains(r.err, "--show-password") {
		t.Errorf("for JDBC it says %q of the password", r.err)
	}
}

// TestStatusFitsTheTerminal brings up clusters on terminals of odd widths, and
// wants no rewritten line as wide as the terminal.
func TestStatusFitsTheTerminal(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	for name, c := range map[string]struct {
		columns uint16
		limit   int
		term    string
	}{"narrow": {40, 39, "xterm"}, "one": {1, 0, "xterm"}, "unsized": {0, 79, "xterm"}, "dumb": {80, 0, "dumb"}, "unset": {80, 0, ""}} {
		cmd := b.command(context.WithoutCancel(t.Context()), "up", "--provider", "local", "--standbys", "1", "--dataset", "none", "--cluster", name)
		cmd.Env = append(cmd.Env, "TERM="+c.term)
		s := onTerminal(t, cmd, c.columns)
		if code := s.end(); code != 0 {
			t.Errorf("%s: exit code %d\n%s", name, code, s.text())
		}
		parts := strings.Split(s.text(), "\r\x1b[K")
		if (c.limit == 79 || c.limit == 39) && len(parts) < 2 {
			t.Errorf("%s: no status was shown", name)
		}
		for _, p := range parts[1:] {
			if !strings.Contains(p, "\n") && len([]rune(p)) > c.limit {
				t.Errorf("%s: the status %q is wider than %d", name, p, c.limit)
			}
		}
		if c.limit == 0 && c.columns != 1 && strings.Contains(s.text(), "\x1b") {
			t.Errorf("%s: control sequences in %q", name, s.text())
		}
	}
}
