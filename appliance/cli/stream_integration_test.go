//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// piped runs a command that reads the text from a pipe.
func (b *box) piped(text string, args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), commandTimeout)
	defer cancel()
	cmd := b.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &out, &errs
	_ = cmd.Run() // its exit code is looked at
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// sent are the files of SQL that the daemon keeps.
func (b *box) sent() string {
	b.t.Helper()
	var names []string
	b.must(filepath.WalkDir(b.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // what goes while the test looks does not stay
		}
		if rest, ok := strings.CutPrefix(path, filepath.Join(b.home, "sql")+"/"); ok {
			names = append(names, rest)
		}
		return nil
	}))
	return strings.Join(names, " ")
}

// TestSQLFromPipes loads what only the command can read.
func TestSQLFromPipes(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	up := []string{"up", "--provider", "local", "--standbys", "1", "--dataset", "none", "--database", "shop", "--sql"}
	with := func(args ...string) []string { return append(append([]string{}, up...), args...) }
	fifo := filepath.Join(filepath.Dir(b.home), "fifo")
	b.must(unix.Mkfifo(fifo, 0o600))

	t.Run("silent", func(t *testing.T) { silentPipe(t, b, fifo, with(fifo)) })
	if r := b.piped("", with("-")...); r.code != appliance.ExitUsage || !strings.Contains(r.err, "is empty") || b.sent() != "" {
		t.Errorf("an empty pipe: %+v, kept %q", r, b.sent())
	}
	if r := b.piped("SELECT 1;", with("-", "--sql", "/dev/stdin")...); r.code != appliance.ExitUsage {
		t.Errorf("standard input twice: %+v", r)
	}
	if r := b.piped("SELECT 1;", with("-", "--dry-run")...); r.code != 0 || b.sent() != "" {
		t.Errorf("a dry run: %+v, kept %q", r, b.sent())
	}
	_, err := b.api().Up(t.Context(), appliance.Spec{Name: "main", Provider: appliance.ProviderLocal, SQL: []string{fifo}})
	if !appliance.IsProblem(err, appliance.ErrInvalidSpec) {
		t.Errorf("a pipe in a spec of the API: %v", err)
	}

	// A dump that breaks off fails; the whole one replaces it.
	const sql = "CREATE TABLE goods (id int, name text);\nCOPY goods FROM stdin;\n1\ttea\n2\tsalt\n"
	leave := b.gate()
	r := b.piped(sql, with("/dev/stdin")...)
	leave()
	if r.code != 1 || !strings.Contains(r.err, "it ends within COPY data") || b.sent() != "main/1-stdin" {
		t.Errorf("a dump that breaks off: %+v, kept %q", r, b.sent())
	}
	if st, err := os.Stat(filepath.Join(b.home, "sql", "main", "1-stdin")); err == nil && st.Mode().Perm() != 0o600 {
		t.Errorf("the SQL has mode %s", st.Mode())
	}
	leave = b.gate()
	r = b.piped(sql+"\\.\n", with("-")...)
	leave()
	if r.code != 0 || b.sent() != "" {
		t.Fatalf("the whole dump: %+v, kept %q\n%s", r, b.sent(), b.log())
	}
	b.verified()
	if n := b.rows("SELECT count(*) FROM goods", "--role", "ro"); n != "2" {
		t.Errorf("%s goods", n)
	}
	if r := b.piped(sql+"\\.\n", with("-")...); r.code != 0 || b.sent() != "" {
		t.Errorf("the same again: %+v, kept %q", r, b.sent())
	}
	if r := b.piped(sql, "up", "--database", "other", "--sql", "-"); r.code != appliance.ExitConflict || b.sent() != "" {
		t.Errorf("another cluster's: %+v, kept %q", r, b.sent())
	}
	b.ok("down", "--volumes", "--yes")
	killedLoadFromPipe(t, b, fifo, with(fifo))
}

// silentPipe is one that nobody writes to: the time limit and Ctrl-C end the
// command, and nothing has begun.
func silentPipe(t *testing.T, b *box, fifo string, args []string) {
	if r := b.run(append(args, "--timeout", "1s")...); r.code != appliance.ExitTimeout {
		t.Errorf("the time limit: %+v", r)
	}
	cmd, wait := b.background(args...)
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the command
	b.must(err)
	defer func() { _ = writer.Close() }()
	b.must(cmd.Process.Signal(syscall.SIGINT))
	if r := wait(); r.code != appliance.ExitInterrupted {
		t.Errorf("Ctrl-C: %+v", r)
	}
	if r := b.run("ps"); r.code != appliance.ExitNotFound || b.sent() != "" {
		t.Errorf("a silent pipe left something: %+v, kept %q", r, b.sent())
	}
}

// killedLoadFromPipe kills the daemon while it loads: the next one has what the
// pipe brought.
func killedLoadFromPipe(t *testing.T, b *box, fifo string, args []string) {
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("CREATE ROLE clerk;\nCREATE TABLE t (x int);\nSELECT pg_sleep(1);\nINSERT INTO t VALUES (1);\n")
			_ = f.Close()
		}
		done <- err
	}()
	leave := b.gate()
	r := killAtStep(t, b, "load", false, args...)
	leave()
	b.must(<-done)
	if r.code != 0 || b.sent() != "" {
		t.Errorf("the daemon killed in the load: %+v, kept %q\n%s", r, b.sent(), b.log())
	}
	b.verified()
	if n := b.rows("SELECT count(*) FROM t"); n != "1" {
		t.Errorf("%s rows", n)
	}
}
