//go:build integration

package cli_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestScale grows and shrinks a cluster, also with the daemon killed meanwhile.
func TestScale(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	b.ok("scale", "--standbys", "3")
	grown := b.ps()
	wantStandbys(t, b, 3)
	b.rows("CREATE TABLE scaled AS SELECT 7 AS n")
	b.ok("scale", "--standbys", "1")
	wantStandbys(t, b, 1)
	for _, name := range []string{"node2", "node3"} {
		m := memberOf(grown, name)
		if c, err := b.dial(t.Context(), "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port))); err == nil {
			_ = c.Close()
			t.Errorf("something listens where %s was", name)
		}
		if left, _ := filepath.Glob(filepath.Join(b.home, "clusters", "main", "*"+name+"*")); len(left) > 0 {
			t.Errorf("%q is left of %s", left, name)
		}
	}
	for step, down := range map[string]string{"machine/node2": "stop/node2", "clone/node2": "unslot/node2", "start/node2": "remove/node2"} {
		if r := killAtStep(t, b, step, true, "scale", "--standbys", "2"); r.code != 0 {
			t.Errorf("scale up, its daemon killed at %s: exit code %d\n%s", step, r.code, r.err)
		}
		wantStandbys(t, b, 2)
		if r := killAtStep(t, b, down, true, "scale", "--standbys", "1"); r.code != 0 {
			t.Errorf("scale down, its daemon killed at %s: exit code %d\n%s", down, r.code, r.err)
		}
		wantStandbys(t, b, 1)
	}
	if n := b.rows("SELECT n FROM scaled", "--role", "ro"); n != "7" {
		t.Errorf("a standby reads %s", n)
	}
	b.want(appliance.ExitUsage, "scale", "--standbys", "17")
	b.want(appliance.ExitUsage, "scale")
	for member, want := range map[string]appliance.ErrorID{"node0": appliance.ErrConflict, "node9": appliance.ErrNotFound} {
		if _, err := b.api().Scale(t.Context(), "main", appliance.ScaleWish{Remove: member}); !appliance.IsProblem(err, want) {
			t.Errorf("removing %s: %v, want %s", member, err, want)
		}
	}
	b.ok("down")
	b.want(appliance.ExitConflict, "scale", "--standbys", "2")
	b.up("--standbys", "2")
	wantStandbys(t, b, 2)
}

// wantStandbys wants that many streaming, each with its slot, and no more.
func wantStandbys(t *testing.T, b *box, n int) {
	t.Helper()
	b.verified()
	if got := len(b.ps().Members) - 1; got != n {
		t.Errorf("%d standbys, want %d", got, n)
	}
	if got := b.rows("SELECT count(*) || '/' || count(*) FILTER (WHERE active) FROM pg_replication_slots"); got != strconv.Itoa(n)+"/"+strconv.Itoa(n) {
		t.Errorf("slots/active %s, want %d", got, n)
	}
	dirs, err := filepath.Glob(filepath.Join(b.home, "clusters", "main", "node*"))
	if err != nil || len(dirs) != n+1 {
		t.Errorf("directories %q, %v", dirs, err)
	}
}

// TestParameters changes parameters by reload and by restart, up and down.
func TestParameters(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	set := func(text string) {
		t.Helper()
		b.must(os.WriteFile(file, []byte("name: main\nparameters: {"+text+"}\n"), 0o600))
	}
	shown := func(name string) string {
		t.Helper()
		return b.rows("SHOW "+name, "node0") + " " + b.rows("SHOW "+name, "node1")
	}
	started := func() string {
		t.Helper()
		return b.rows("SELECT pg_postmaster_start_time()", "node0") + b.rows("SELECT pg_postmaster_start_time()", "node1")
	}
	before, at := b.ps(), started()
	set("work_mem: 9MB")
	var plan appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("up", "-f", file, "--standbys", "2", "--dry-run", "-o", "json").out), &plan))
	if plan.State != appliance.OpPlanned || plan.ID != "" || !planned(plan, "check") || !planned(plan, "clone/node2") || !planned(plan, "apply/node0") || planned(plan, "load") {
		t.Errorf("the plan is %+v", plan)
	}
	if after := b.ps(); after.Revision != before.Revision || len(after.Members) != 2 || shown("work_mem") != "4MB 4MB" {
		t.Errorf("the dry run changed the cluster: %+v", after)
	}
	b.ok("up", "-f", file)
	if got := shown("work_mem"); got != "9MB 9MB" || started() != at {
		t.Errorf("work_mem is %s, restarted %v", got, started() != at)
	}
	for _, n := range []string{"150", "90"} {
		set("max_connections: '" + n + "'")
		b.ok("up", "-f", file)
		b.verified()
		if got := shown("max_connections"); got != n+" "+n || shown("work_mem") != "4MB 4MB" {
			t.Errorf("max_connections is %s, want %s; work_mem %s", got, n, shown("work_mem"))
		}
	}
	was := b.ps().Revision
	set("max_connections: many")
	if r := b.run("up", "-f", file); r.code == 0 || !strings.Contains(r.err, "error[postgres-config]") {
		t.Errorf("a wrong value: exit code %d\n%s", r.code, r.err)
	}
	if got := b.ps(); got.Spec.Parameters["max_connections"] != "90" || got.Phase != appliance.PhaseReady {
		t.Errorf("a wrong value was recorded: %+v, revision %d before %d", got.Spec, got.Revision, was)
	}
	etags(t, b)
	parameterTakenOut(t, b, shown)
}

// parameterTakenOut wants what only a restart changes to be in force after up,
// also where an earlier change got no further than the record.
func parameterTakenOut(t *testing.T, b *box, shown func(string) string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(file, []byte("name: main\nparameters: {track_activity_query_size: 2kB}\n"), 0o600))
	b.ok("up", "-f", file)
	if got := shown("track_activity_query_size"); got != "2kB 2kB" {
		t.Errorf("track_activity_query_size is %q", got)
	}
	b.must(os.WriteFile(file, []byte("name: main\nparameters: {}\n"), 0o600))
	b.ok("up", "-f", file)
	if got := shown("track_activity_query_size"); got != "1kB 1kB" {
		t.Errorf("taken out, track_activity_query_size is %q", got)
	}
	b.ok("up", "-f", file)
	started := b.rows("SELECT pg_postmaster_start_time()")
	b.ok("up", "-f", file)
	if again := b.rows("SELECT pg_postmaster_start_time()"); again != started {
		t.Error("up of what is in force restarted the primary")
	}
	// The record is right and the world is not, as where a change failed half way.
	conf := filepath.Join(b.home, "clusters", "main", "node1", "data", "pgapp.conf")
	text, err := os.ReadFile(conf)
	b.must(err)
	b.must(os.WriteFile(conf, append(text, "track_activity_query_size = 2kB\n"...), 0o600))
	b.ok("up", "-f", file)
	if now, err := os.ReadFile(conf); err != nil || string(now) != string(text) {
		t.Errorf("up left another configuration than the record's: %v\n%s", err, now)
	}
}

func planned(o appliance.Operation, id string) bool {
	for _, s := range o.Steps {
		if s.ID == id {
			return !s.AlreadyDone
		}
	}
	return false
}

// etags changes the cluster as an API's client does.
func etags(t *testing.T, b *box) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DialContext: unixDialer(filepath.Join(b.home, "pgapp.sock"))}}
	t.Cleanup(c.CloseIdleConnections)
	send := func(method, body string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://pgapp/api/v1/clusters/main", strings.NewReader(body))
		b.must(err)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.Do(req)
		b.must(err)
		_ = resp.Body.Close()
		return resp
	}
	tag := send("GET", "").Header.Get("ETag")
	const change = `{"parameters":{}}`
	if r := send("PUT", change); r.StatusCode != http.StatusPreconditionRequired {
		t.Errorf("PUT without If-Match: %s", r.Status)
	}
	if r := send("PUT", change, "If-Match", `"1"`); r.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("PUT with an old tag: %s", r.Status)
	}
	r := send("PUT", change, "If-Match", tag)
	if r.StatusCode != http.StatusAccepted {
		t.Fatalf("PUT with the tag %s: %s", tag, r.Status)
	}
	b.ok("ops", filepath.Base(r.Header.Get("Location")), "--follow")
	if got := b.rows("SHOW max_connections"); got != "100" {
		t.Errorf("without parameters max_connections is %s", got)
	}
	if r := send("PUT", change, "If-Match", tag); r.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("PUT with the tag used before: %s", r.Status)
	}
}
