//go:build integration

package plan_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// drilled is the cluster for package drill.
func (h *home) drilled() drill.Cluster {
	h.t.Helper()
	c, r := h.daemon(nil)
	h.t.Cleanup(r.Close)
	conn, err := c.Connection(h.t.Context(), "main", "any", true)
	h.must(err)
	return drill.Cluster{
		Config: drill.Config{
			Members: conn.Hosts, Database: conn.Database, User: conn.User, Password: appliance.NewSecret(conn.Password), Writers: 2,
			Pause: 5 * time.Millisecond, // other tests run beside
		},
		Status: func(ctx context.Context) (appliance.ClusterStatus, error) { return c.Status(ctx, "main") },
	}
}

// stores has p decide at each change of the record too whether the daemon crashes, before
// the change is stored and after. A boundary is known by what is on record there.
func (h *home) stores(p *points) {
	h.around = func(after bool) error {
		c := h.record()
		point := fmt.Sprintf("before a change of %s/%d %+v", c.Primary, c.Epoch, c.Promise)
		if after {
			point = strings.Replace(point, "before", "after", 1)
		}
		if c.Change != nil {
			point += " in phase " + string(c.Change.Phase)
		}
		for _, m := range c.Members {
			point += fmt.Sprintf(" %s:%s:%d", m.Name, m.Return, m.Epoch)
		}
		return p.crash(point)
	}
}

// TestChangesOfPrimaryRecoverFromCrashAtEachBoundary crashes the daemon before and after
// each step and each change of the record of a switchover, a failover of a killed primary
// and a rejoin, while writers write.
func TestChangesOfPrimaryRecoverFromCrashAtEachBoundary(t *testing.T) {
	t.Parallel()
	h := newHome(t, 207, packed(t))
	h.create(2)
	cluster := h.drilled()
	run, err := drill.Start(context.WithoutCancel(t.Context()), cluster.Config)
	h.must(err)
	t.Cleanup(func() { run.Stop() })
	written := func() {
		want := run.Acknowledged() + 20
		h.eventually("writers write", func() bool { return run.Acknowledged() >= want })
	}
	for _, kind := range []appliance.OperationKind{appliance.OpSwitchover, appliance.OpFailover, appliance.OpRejoin} {
		written()
		old, p := h.record().PrimaryMember(), &points{}
		params := appliance.OperationParams{}
		switch kind {
		case appliance.OpFailover:
			h.fence(old.Name)
		case appliance.OpRejoin:
			standby := h.record().Standbys()[0].Name
			h.fence(standby)
			h.mark(standby)
			params.Member = standby
		}
		h.stores(p)
		start := time.Now()
		h.crashing(func(c controller) (appliance.Operation, error) { return c.Submit(t.Context(), "main", kind, params) }, p)
		h.around = nil
		if now := h.record().Primary; (now == old.Name) != (kind == appliance.OpRejoin) {
			t.Errorf("after the %s the primary is %s, before it was %s", kind, now, old.Name)
		}
		t.Logf("%s: %d crashes in %s", kind, len(p.all), time.Since(start).Round(time.Millisecond))
		for _, phase := range []appliance.ChangePhase{appliance.ChangeLooking, appliance.ChangePromoting, appliance.ChangeDone} {
			if kind != appliance.OpRejoin && !strings.Contains(strings.Join(p.all, "\n"), "in phase "+string(phase)) {
				t.Errorf("%s: no crash in phase %s among %q", kind, phase, p.all)
			}
		}
		// Between the two nobody has yet marked a member that does not follow the new primary.
		if kind != appliance.OpRejoin && !slices.Contains(p.all, "before streaming") {
			t.Errorf("%s: no crash between the change and the wait for the others among %q", kind, p.all)
		}
	}
	written()
	for _, f := range drill.Check(t.Context(), cluster, run.Stop()) {
		t.Error(f)
	}
}
