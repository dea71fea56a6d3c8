//go:build integration

package api

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFuzzedDaemon sends fuzzed requests to the real program with an empty home.
// Valid requests have a token for reading only. Nothing may be created, and the
// daemon has to be the same process afterwards.
func TestFuzzedDaemon(t *testing.T) {
	t.Parallel()
	home, c := startProgram(t)
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(info.URL)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile(filepath.Join(home, "token"))
	if err != nil {
		t.Fatal(err)
	}
	read, err := c.CreateToken(t.Context(), "reader", ScopeRead)
	if err != nil {
		t.Fatal(err)
	}
	z := newFuzzer(t, u.Host)
	z.gen.admin, z.gen.read = strings.TrimSpace(string(admin)), read.Secret
	before := inventory(t, home, c)
	n := fuzzCount(t, 3000)
	for i := range n {
		f := z.gen.next()
		if f.auth != "" {
			continue // guessing is slowed down on purpose
		}
		if f.broken == "" && (!safe(f.method) || f.op.ID == "backup-state") {
			f.token = z.gen.read
		}
		z.judge(i, f, z.send(f))
		if z.failures >= 10 {
			t.Fatal("and so on")
		}
	}
	z.report(n)
	if after := inventory(t, home, c); before != after {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if again, err := c.Info(t.Context()); err != nil || again.PID != info.PID {
		t.Errorf("the daemon is %+v, was %+v (%v)", again, info, err)
	}
}

// inventory lists what the daemon and its home contain.
func inventory(t *testing.T, home string, c *Client) string {
	t.Helper()
	clusters, err := c.Clusters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ops, err := c.Operations(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintln(&b, clusters, ops)
	for _, k := range tokens {
		fmt.Fprintln(&b, k.Name, k.Scope)
	}
	err = filepath.Walk(home, func(path string, _ os.FileInfo, err error) error {
		fmt.Fprintln(&b, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// startProgram runs the daemon on a home of its own until the test ends.
func startProgram(t *testing.T) (home string, c *Client) {
	t.Helper()
	bin := os.Getenv("PGAPP_TEST_BINARY")
	if bin == "" {
		t.Fatal("PGAPP_TEST_BINARY does not name the program to test: run scripts/test")
	}
	home, err := os.MkdirTemp("", "pgapp-fuzz-") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, "serve", "--home", home, "--listen", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c = NewUnixClient(filepath.Join(home, "pgapp.sock"))
	t.Cleanup(func() {
		c.Close()
		_ = cmd.Wait() // ended with the test's context
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
		if out := log.String(); t.Failed() {
			t.Log(out[max(0, len(out)-3000):])
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err = c.Info(t.Context()); err == nil {
			return home, c
		}
		if time.Now().After(end) {
			t.Fatalf("the daemon does not answer: %v", err)
		}
	}
}
