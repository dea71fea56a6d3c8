//go:build integration

package cli_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// healthy tells whether the health check of the member answers 200.
func (b *box) healthy(member, check string) bool {
	b.t.Helper()
	resp, err := b.api().Do(b.t.Context(), http.MethodGet, "/health/main/"+member+"/"+check, nil)
	b.must(err)
	b.must(resp.Body.Close())
	return resp.StatusCode == http.StatusOK
}

// leads wants url, psql and the health checks to name the member as the primary.
func (b *box) leads(member string) {
	b.t.Helper()
	s := b.ps()
	address := memberOf(s, member).Host
	if url := b.ok("url", "--role", "rw", "--only", "members").out; !strings.HasPrefix(url, "postgresql://app@"+address+":") {
		b.t.Errorf("url leads to %s, want %s first", url, address)
	}
	if out := b.rows("SELECT pg_is_in_recovery(), host(inet_server_addr())", "--role", "rw"); out != "f|"+address {
		b.t.Errorf("psql --role rw is at %s, want %s", out, address)
	}
	for _, m := range s.Members {
		b.eventually("the health checks of "+m.Name, func() bool {
			return b.healthy(m.Name, "primary") == (m.Name == member) && b.healthy(m.Name, "replica") == (m.Name != member)
		})
	}
}

// TestUsersMoveThePrimary does what a user does with a primary that works, and then with
// one that is dead.
func TestUsersMoveThePrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	s := b.status(b.ok("switchover", "--to", "node1", "-o", "json").out)
	if s.Primary != "node1" || s.Epoch != 2 || len(s.Promotions) != 1 || s.Change != nil {
		t.Errorf("switchover -o json: %+v", s)
	}
	if p := s.Promotions[0]; p.Member != "node1" || p.Timeline != 2 || p.Switch == 0 || p.Reason != "switchover" {
		t.Errorf("the promotion: %+v", p)
	}
	b.leads("node1")
	if r := b.want(appliance.ExitConflict, "switchover", "--to", "node1"); !strings.Contains(r.err, "node1 is the primary") {
		t.Errorf("a repeat: %s", r.err)
	}
	if out := b.ok("ops").out; !strings.Contains(out, "switchover") || !strings.Contains(out, "node1") {
		t.Errorf("ops leaves out the switchover to node1:\n%s", out)
	}

	b.killServer("node1")
	b.eventually("ps says what to do", func() bool {
		r := b.run("ps")
		return r.code == appliance.ExitDegraded && strings.Contains(r.err, "pgapp failover replaces it")
	})
	b.want(appliance.ExitDeclined, "failover")
	b.declined()
	on := onTerminal(t, b.command(t.Context(), "failover", "--to", "node2"), 120)
	on.see(1, "Go on? [y/N]")
	on.enter("y\n")
	if code := on.end(); code != 0 {
		t.Fatalf("failover: exit code %d\n%s", code, on.text())
	}
	b.led("node2")
	b.leads("node2")
	if s := b.ps(); s.Epoch != 3 || len(s.Promotions) != 2 || s.Promotions[1].Reason != "failover" {
		t.Errorf("after the failover: epoch %d, %+v", s.Epoch, s.Promotions)
	}
	b.verified()
}

// declined answers no to the question of a failover.
func (b *box) declined() {
	b.t.Helper()
	on := onTerminal(b.t, b.command(b.t.Context(), "failover", "--to", "node2"), 120)
	on.see(1, "Go on? [y/N]")
	for _, want := range []string{"node1 is the primary of cluster main", "node2 becomes the primary", "may be lost"} {
		if !strings.Contains(on.text(), want) {
			b.t.Errorf("the question leaves out %q:\n%s", want, on.text())
		}
	}
	on.enter("n\n")
	if code := on.end(); code != appliance.ExitDeclined {
		b.t.Errorf("declined: exit code %d", code)
	}
	if s := b.ps(); s.Epoch != 2 || s.Operation != "" {
		b.t.Errorf("declined, and yet epoch %d, operation %q", s.Epoch, s.Operation)
	}
}

// TestUsersSeeWhatARejoinDrops promotes a standby behind pgapp's back and has it write.
func TestUsersSeeWhatARejoinDrops(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	b.pgCtl("node2", "promote")
	b.super("node2", "CREATE TABLE lost AS SELECT 1 AS n")
	b.eventually("ps shows a second member that takes writes", func() bool {
		m := memberOf(b.ps(), "node2")
		return m.State == appliance.StateFailed && strings.Contains(m.Detail, "accepts writes") && !b.healthy("node2", "primary")
	})
	b.ok("start")
	m := memberOf(b.ps(), "node2")
	if m.State != appliance.StateFenced || m.Detail != "to be brought back: pgapp rejoin" {
		t.Errorf("node2 is %s: %q", m.State, m.Detail)
	}
	if r := b.want(appliance.ExitConflict, "switchover", "--to", "node2"); !strings.Contains(r.err, "pgapp rejoin node2") {
		t.Errorf("a switchover to a fenced member: %s", r.err)
	}
	r := b.ok("rejoin", "node2")
	if !strings.Contains(r.err, "node2 dropped") || !strings.Contains(r.err, "commits that the new primary lacks") {
		t.Errorf("rejoin doesn't say what was dropped: %s", r.err)
	}
	b.led("node0")
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	o := list[0]
	if o.Kind != appliance.OpRejoin || len(o.Discarded) != 1 {
		t.Fatalf("the last operation: %s, discarded %+v", o.Kind, o.Discarded)
	}
	if d := o.Discarded[0]; d.Member != "node2" || d.Bytes <= 0 || d.Commits < 1 || d.First == nil || d.Last == nil || d.Unknown != "" {
		t.Errorf("discarded %+v", d)
	}
	if r := b.ok("ops", o.ID); !strings.Contains(r.err, "node2 dropped") {
		t.Errorf("ops %s doesn't say what was dropped: %s", o.ID, r.err)
	}
	if r := b.ok("rejoin"); strings.Contains(r.err, "dropped") {
		t.Errorf("a repeat drops something: %s", r.err)
	}
	b.verified()
}

// TestInterruptLeavesASwitchover interrupts the command while the old primary is held up
// in its shutdown. The switchover goes on, and ps shows it.
func TestInterruptLeavesASwitchover(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	thaw := b.freeze("node0", "walwriter")
	cmd, wait := b.background("switchover")
	id := b.phase("stopping node0")
	b.must(cmd.Process.Signal(syscall.SIGINT))
	if r := wait(); r.code != appliance.ExitInterrupted || !strings.Contains(r.err, "pgapp ops "+id+" --follow") {
		t.Errorf("interrupted: exit code %d: %s", r.code, r.err)
	}
	s := b.ps()
	if c := s.Change; c == nil || c.Operation != id || c.From != "node0" || c.Phase != appliance.ChangeStopping || !c.Cancellable {
		t.Errorf("ps shows change %+v", s.Change)
	}
	if r := b.run("ps"); !strings.Contains(r.err, "switchover of node0") || !strings.Contains(r.err, "--cancel takes the way back") {
		t.Errorf("ps says: %s", r.err)
	}
	thaw()
	b.ok("ops", id, "--follow")
	b.led("node1")
	b.verified()
}
