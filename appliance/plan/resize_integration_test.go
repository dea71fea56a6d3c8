//go:build integration

package plan_test

import (
	"context"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
)

// TestMembersServeAgainAfterTheirMachinesWereResized starts members as after a resize. A
// standby streams when that is done. The application gets into the primary only when a
// standby has what was recovered.
func TestMembersServeAgainAfterTheirMachinesWereResized(t *testing.T) {
	t.Parallel()
	h := newHome(t, 234, packed(t))
	h.create(1)
	h.succeeded(h.upAs(appliance.DurabilityQuorum))
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	c, r := h.daemon(nil)
	defer r.Close()
	conn, err := c.Connection(t.Context(), "main", "rw", false)
	h.must(err)
	o := appliance.Operation{ID: "7", Cluster: "main", Kind: appliance.OpUp, Decision: &appliance.Decision{Promise: true}}

	h.must(h.machine("node1").StopServer(t.Context(), appliance.StopFast))
	h.must(plan.StartResized(t.Context(), h.planner, o, "node1"))
	if got := h.sql("node0", "postgres", "SELECT string_agg(application_name, ' ') FROM pg_stat_replication WHERE state = 'streaming'"); got != "node1" {
		t.Errorf("streaming are %q, want node1", got)
	}

	h.setting("node1", "SET primary_conninfo = ''")
	h.eventually("node1 receives nothing", func() bool { return h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_replication") == "0" })
	m, mc, ctx := h.record().PrimaryMember(), h.machine("node0"), context.WithoutCancel(t.Context())
	committed := make(chan error, 1)
	go func() {
		_, err := postgres.SuperuserSQL(ctx, mc, m.Port, "shop", "SET synchronous_commit = on; INSERT INTO public.goods VALUES (1)")
		committed <- err
	}()
	h.eventually("the commit waits", func() bool {
		return h.sql("node0", "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	h.fence("node0")
	<-committed
	started := make(chan error, 1)
	go func() { started <- plan.StartResized(ctx, h.planner, o, "node0") }()
	h.eventually("node0 is started", func() bool { return postgres.Accepts(t.Context(), m.Host, m.Port) })
	if out, err := h.login(conn); err == nil || !strings.Contains(out, "pg_hba.conf rejects connection") {
		t.Errorf("the application gets in before a standby has the row: %s", out)
	}
	h.setting("node1", "RESET primary_conninfo")
	h.must(<-started)
	if out, err := h.login(conn); err != nil {
		t.Errorf("the application is kept out: %s", out)
	}
	h.replayed("node0", "node1")
	if got := h.sql("node1", "shop", "SELECT id FROM public.goods"); got != "1" {
		t.Errorf("node1 has %q, want the row", got)
	}
}
