//go:build integration

package cli_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// superuser runs SQL as PostgreSQL's superuser through the member's socket.
func superuser(t *testing.T, b *box, member, query string) string {
	t.Helper()
	s := memberOf(b.ps(), member)
	socket := filepath.Join(b.home, "clusters", "main", member, "run")
	args := []string{pgbin(t) + "/psql", "-XAtw", "-h", socket, "-p", strconv.Itoa(s.Port), "-U", "postgres", "-d", "postgres", "-c", query}
	info, err := os.Stat(socket)
	b.must(err)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		u, err := user.LookupId(strconv.Itoa(int(st.Uid)))
		b.must(err)
		args = append([]string{"--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", "--"}, args...)
		cmd = exec.CommandContext(t.Context(), "setpriv", args...)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %s: %v\n%s", query, member, err, out)
	}
	return strings.TrimSpace(string(out))
}

// failing runs verify and returns the checks that fail, as "check member".
func failing(t *testing.T, b *box) []string {
	t.Helper()
	r, v := b.verify()
	if r.code != appliance.ExitDegraded || v.OK {
		t.Errorf("verify: exit code %d, ok %v\n%s", r.code, v.OK, r.err)
	}
	var out []string
	for _, c := range v.Checks {
		if !c.OK {
			out = append(out, c.Name+" "+c.Member)
			if c.Detail == "" {
				t.Errorf("%s on %s fails without a word", c.Name, c.Member)
			}
		}
	}
	return out
}

// TestBrokenClusters breaks a cluster in each way that verify has to see.
func TestBrokenClusters(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	want := func(what string, checks ...string) {
		t.Helper()
		var got []string
		missing := func(c string) bool { return !slices.Contains(got, c) }
		// The primary learns of a standby's end when its walsender does.
		for end := time.Now().Add(commandTimeout); ; {
			got = failing(t, b)
			if !slices.ContainsFunc(checks, missing) || time.Now().After(end) {
				break
			}
		}
		for _, c := range checks {
			if missing(c) {
				t.Errorf("%s: %q does not fail, only %q", what, c, got)
			}
		}
		for _, c := range got {
			if strings.HasSuffix(c, " node2") {
				t.Errorf("%s: %q fails on the sound standby", what, c)
			}
		}
		if r := b.run("ps"); r.code != 0 && r.code != appliance.ExitDegraded {
			t.Errorf("%s: ps: exit code %d", what, r.code)
		}
	}

	// A standby dies.
	for pids := membersProcesses(b, "node1"); len(pids) > 0; pids = membersProcesses(b, "node1") {
		for _, pid := range pids {
			killAndWait(t, pid)
		}
	}
	want("a dead standby", "reachable node1", "streaming node1", "slot-active node1")
	if s := memberOf(b.ps(), "node1"); s.State != appliance.StateStopped {
		t.Errorf("a dead standby is %s", s.State)
	}
	// Its slot is dropped, and it comes back.
	superuser(t, b, "node0", "SELECT pg_drop_replication_slot('node1')")
	_, wait := b.background("start", "node1")
	settled(t, b, "node1", appliance.StateFailed)
	want("a standby without its slot", "streaming node1", "slot-active node1")
	superuser(t, b, "node0", "SELECT pg_create_physical_replication_slot('node1', true)")
	if r := wait(); r.code != 0 {
		t.Errorf("start node1: exit code %d\n%s", r.code, r.err)
	}
	b.verified()

	// Replay is paused.
	superuser(t, b, "node1", "SELECT pg_wal_replay_pause()")
	want("a paused replay", "replay-running node1", "marker-replicated node1")
	superuser(t, b, "node1", "SELECT pg_wal_replay_resume()")
	b.verified()

	// A standby becomes a primary behind everybody's back.
	superuser(t, b, "node1", "SELECT pg_promote()")
	want("two primaries", "in-recovery node1", "write-refused node1")
	settled(t, b, "node1", appliance.StateFailed)
	if s := memberOf(b.ps(), "node1"); s.Detail == "" {
		t.Errorf("a second primary: %+v", s)
	}
	b.ok("reinit", "node1")
	b.verified()

	// Somebody overrides what pgapp sets.
	superuser(t, b, "node1", "ALTER SYSTEM SET primary_slot_name = 'elsewhere'")
	superuser(t, b, "node1", "SELECT pg_reload_conf()")
	want("a setting overridden", "settings-owned node1")
	b.ok("reinit", "node1")
	b.verified()
}

// membersProcesses are those that work in the member's directories.
func membersProcesses(b *box, member string) []int {
	var out []int
	for _, pid := range b.processes() {
		cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
		if err == nil && strings.HasPrefix(cwd, filepath.Join(b.home, "clusters", "main", member)+"/") {
			out = append(out, pid)
		}
	}
	return out
}
