//go:build integration

package plan_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// crash kills a backend of the member, so that PostgreSQL restarts by itself, and waits
// until it accepts connections again.
func (h *home) crash(member string) {
	h.t.Helper()
	before := h.sql(member, "postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
	pid, err := strconv.Atoi(h.sql(member, "postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"))
	h.must(err)
	h.must(syscall.Kill(pid, syscall.SIGKILL))
	h.eventually(member+" has restarted by itself", func() bool {
		m, _ := h.record().Member(member)
		now, err := postgres.SuperuserSQL(h.t.Context(), h.machine(member), m.Port, "postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
		return err == nil && now != before
	})
}

// setting changes a setting of the member's by ALTER SYSTEM.
func (h *home) setting(member, change string) {
	h.t.Helper()
	h.sql(member, "postgres", "ALTER SYSTEM "+change)
	h.sql(member, "postgres", "SELECT pg_reload_conf()")
}

// login logs in as the application, and returns what psql says.
func (h *home) login(conn appliance.Connection) (string, error) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), filepath.Join(h.pgbin, "psql"), "-XAtw", "-c", "SELECT 1")
	cmd.Env = append(os.Environ(), "PGHOST="+conn.Hosts[0].Host, "PGPORT="+strconv.Itoa(conn.Hosts[0].Port), "PGUSER="+conn.User,
		"PGDATABASE="+conn.Database, "PGPASSFILE="+conn.PassFile)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestPromiseHoldsWherePostgreSQLRestartsByItself kills a process of the primary under
// durability quorum, while a commit waits, and while the application is kept out.
func TestPromiseHoldsWherePostgreSQLRestartsByItself(t *testing.T) {
	t.Parallel()
	h := newHome(t, 209, packed(t))
	h.create(1)
	h.succeeded(h.upAs(appliance.DurabilityQuorum))
	promise := h.record().Promise
	h.settled(promise)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.setting("node1", "SET primary_conninfo = ''")
	insert := func(id string) chan error {
		end := make(chan error, 1)
		m, mc := h.record().PrimaryMember(), h.machine("node0")
		ctx := context.WithoutCancel(t.Context())
		go func() {
			_, err := postgres.SuperuserSQL(ctx, mc, m.Port, "shop", "SET synchronous_commit = on; INSERT INTO public.goods VALUES ("+id+")")
			end <- err
		}()
		h.eventually("the commit of "+id+" waits for the standby", func() bool {
			return h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
		})
		return end
	}
	first := insert("1")
	h.crash("node0")
	if err := <-first; err == nil {
		t.Error("a commit that no standby has was acknowledged")
	}
	h.settled(promise)
	second := insert("2")
	h.setting("node1", "RESET primary_conninfo")
	h.must(<-second)

	t.Log("the application is kept out of a primary that was started")
	// A step of the start below gives the standby its setting again, and a halted receiver
	// takes in nothing all the same.
	receiver, err := strconv.Atoi(h.sql("node1", "postgres", "SELECT pid FROM pg_stat_wal_receiver"))
	h.must(err)
	h.must(syscall.Kill(receiver, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(receiver, syscall.SIGCONT) }()
	third := insert("3")
	h.fence("node0")
	<-third
	c, r := h.daemon(nil)
	defer r.Close()
	conn, err := c.Connection(t.Context(), "main", "rw", false)
	h.must(err)
	o, err := c.Submit(t.Context(), "main", appliance.OpStart, appliance.OperationParams{})
	h.must(err)
	m := h.record().PrimaryMember()
	h.eventually("node0 is started", func() bool { return postgres.Accepts(t.Context(), m.Host, m.Port) })
	h.crash("node0")
	if out, err := h.login(conn); err == nil || !strings.Contains(out, "pg_hba.conf rejects connection") {
		t.Errorf("the application gets in before a standby has the row: %s", out)
	}
	h.must(syscall.Kill(receiver, syscall.SIGCONT))
	if o = follow(t, r, o.ID); o.State != appliance.OpSucceeded { // another step met the restart
		t.Logf("the start ended with %v", o.Error)
		again, err := c.Submit(t.Context(), "main", appliance.OpStart, appliance.OperationParams{})
		h.must(err)
		h.succeeded(follow(t, r, again.ID))
	}
	if out, err := h.login(conn); err != nil {
		t.Errorf("the application is kept out: %s", out)
	}
	h.settled(promise)
}
