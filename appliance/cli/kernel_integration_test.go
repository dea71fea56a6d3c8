//go:build integration

package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// tables are the tables of nftables in the box's network.
func (b *box) tables() string {
	b.t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(b.t.Context()), "nsenter", "--net="+b.net.path(), "--", "nft", "list", "tables").CombinedOutput()
	if err != nil {
		b.t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}

// TestKernelLeadsConnections has the kernel lead connections through a switchover, without
// the daemon and the endpoints' process, and to the primary that replaces a killed one, under
// writers.
func TestKernelLeadsConnections(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || !isolated() {
		t.Skip("SKIPPED: only root can set the kernel's rules, in a network of the test")
	}
	b := newBox(t).shareTree()
	b.env = append(b.env, "PGAPP_AUTOMATIC=on", "PGAPP_DURABILITY=quorum")
	b.up("--standbys", "2")
	url := func(role string) string {
		return strings.TrimSpace(b.ok("url", "--role", role, "--only", "endpoint", "--driver", "pgx", "--show-password").out)
	}
	rw, ro := url("rw"), url("ro")
	b.ok("psql", "--", "-Xqc", "CREATE TABLE called (n bigserial)")

	before := b.connect(rw)
	b.up("--endpoint", "kernel")
	if _, err := before.Exec(t.Context(), callsToWrite); err != nil {
		t.Errorf("a connection of before: %v", err)
	}
	// The kernel holds no connection in a change, so that a client has none to wait for.
	if now := url("rw"); now != strings.Replace(rw, "connect_timeout=13", "connect_timeout=3", 1) {
		t.Errorf("url says %s, and %s before", now, rw)
	}
	if out := b.tables(); !strings.Contains(out, "pgapp_") {
		t.Fatalf("the kernel has no table: %s", out)
	}
	b.verified()
	session := b.connect(rw)
	if s := b.ps(); s.Endpoints == nil || !s.Endpoints.Kernel || s.Endpoints.Writes == nil || s.Endpoints.Writes.Open < 2 {
		t.Errorf("ps shows the endpoints %+v", s.Endpoints)
	}

	writes, reads := b.calling(rw, callsToWrite), b.calling(ro, callsToRead)
	goOn := func(what string) {
		t.Helper()
		b.more(writes)
		b.more(reads)
		t.Log("they go on: " + what)
	}
	goOn("at first")
	b.killDaemon()
	killAndWait(t, b.endpointProcess())
	goOn("the daemon and the endpoints' process were killed")
	b.ok("info")
	goOn("a daemon was started")
	if _, err := session.Exec(t.Context(), callsToWrite); err != nil {
		t.Errorf("a session without a daemon: %v", err)
	}
	b.endedCalling(writes, "writes without a daemon", 0, 0)
	b.endedCalling(reads, "reads without a daemon", 0, 0)

	load := b.kernelLoad(rw)
	b.ok("switchover", "--to", "node1")
	b.led("node1")
	if _, err := session.Exec(t.Context(), callsToWrite); err == nil {
		t.Error("a session to the former primary goes on")
	}
	load.changed("a switchover")
	killAndWait(t, b.postmaster("node1"))
	b.led(b.replaced("node1"))
	load.changed("the death of a primary")
	b.killDaemon()
	load.goesOn("the daemon was killed after the change")
	b.ok("info")
	load.kept()
	b.works(ro, callsToRead, "failover")

	// A process that is frozen serves nobody, and is replaced; the kernel needs none.
	was := b.endpointProcess()
	writes = b.calling(rw, callsToWrite)
	b.must(syscall.Kill(was, syscall.SIGSTOP))
	b.more(writes)
	b.eventually("a frozen process is replaced", func() bool {
		s := b.ps()
		return syscall.Kill(was, 0) != nil && s.Endpoints != nil && s.Endpoints.Writes != nil
	})
	b.more(writes)
	b.endedCalling(writes, "writes beside a frozen process", 0, 0)
	b.yieldsPort(rw)

	b.up("--endpoint", "on")
	if out := b.tables(); strings.Contains(out, "pgapp_") {
		t.Errorf("without kernel the kernel has %s", out)
	}
	b.works(rw, callsToWrite, "on again")
	b.up("--endpoint", "kernel")
	b.works(rw, callsToWrite, "kernel again")
	b.ok("down", "--volumes", "--yes")
	if out := b.tables(); strings.Contains(out, "pgapp_") {
		t.Errorf("the kernel has %s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(b.home, "endpoint*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// works waits until a connection through the endpoint does its work: the kernel refuses
// connections until a change is over.
func (b *box) works(url, query, after string) {
	b.t.Helper()
	b.eventually("a connection does its work after "+after, func() bool {
		_, err := b.once(b.t.Context(), url, query)
		return err == nil
	})
}

// TestKernelIsForRoot wants a refusal by name, before anything is made.
func TestKernelIsForRoot(t *testing.T) {
	t.Parallel()
	b := ordinaryBox(t)
	r := b.want(appliance.ExitHost, "up", "--endpoint", "kernel", "--standbys", "0", "--dataset", "none")
	if !strings.Contains(r.err, "only root can set the kernel's rules") || !strings.Contains(r.err, "--endpoint on") {
		t.Errorf("up as an ordinary user: %s", r.err)
	}
}
