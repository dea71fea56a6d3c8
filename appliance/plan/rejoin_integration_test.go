//go:build integration

package plan_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestRejoinBringsMembersBack makes histories that part, by promotions of the test's
// own, and has the daemon crash at each boundary of the rejoin.
func TestRejoinBringsMembersBack(t *testing.T) {
	t.Parallel()
	h := newHome(t, 203, nil)
	sql := filepath.Join(h.dir, "shop.sql")
	h.must(os.WriteFile(sql, []byte("CREATE TABLE goods AS SELECT generate_series(1, 1000) AS id;\n"), 0o600))
	two := 2
	h.crashing(func(c controller) (appliance.Operation, error) {
		return c.Up(t.Context(), appliance.Spec{
			Name: "main", Provider: appliance.ProviderLocal, Standbys: &two, Dataset: appliance.DatasetNone, Database: "shop",
			SQL: []string{sql}, EndpointSpec: noEndpoints(), Parameters: map[string]string{"autovacuum": "off"}, // whose commits would be counted
		}, appliance.UpOptions{})
	}, &points{dry: true})

	t.Log("a former primary that was killed with commits of its own")
	h.part("node0", "node1")
	before := h.dataDir("node0")
	h.wantDiscarded(h.rejoins("node0", &points{}), "node0", 3)
	if !os.SameFile(before, h.dataDir("node0")) {
		t.Error("node0 was cloned, want a rewind")
	}
	h.wantBack("node0")

	t.Log("two promotions from one history take the same timeline")
	h.fence("node1")
	h.promote("node2")
	h.promote("node0")
	h.recordPrimary("node0")
	h.mark("node1", "node2")
	h.fence("node2")
	before = h.dataDir("node2")
	h.rejoins("", &points{})
	if os.SameFile(before, h.dataDir("node2")) {
		t.Error("node2, on the same timeline number, was not cloned")
	}
	h.wantBack("node1", "node2")

	t.Log("a rewind that was killed")
	h.part("node0", "node2")
	h.must(h.machine("node0").WriteFile(t.Context(), filepath.Join(h.machine("node0").Layout().ConfDir, "rewinding"), nil, 0o600))
	before = h.dataDir("node0")
	h.rejoins("node0", &points{})
	if os.SameFile(before, h.dataDir("node0")) {
		t.Error("node0 was not cloned")
	}
	h.wantBack("node0")

	h.crashing(func(c controller) (appliance.Operation, error) {
		return c.Submit(t.Context(), "main", appliance.OpDestroy, appliance.OperationParams{})
	}, &points{dry: true})
}

func (h *home) sql(member, database, text string) string {
	h.t.Helper()
	m, _ := h.record().Member(member)
	out, err := postgres.SuperuserSQL(h.t.Context(), h.machine(member), m.Port, database, text)
	h.must(err)
	return out
}

func (h *home) fence(member string) {
	h.t.Helper()
	h.must(h.machine(member).Fence(h.t.Context()))
}

func (h *home) promote(member string) {
	h.t.Helper()
	if got := h.sql(member, "postgres", "SELECT pg_promote()"); got != "t" {
		h.t.Fatalf("%s was not promoted: %s", member, got)
	}
}

// part promotes a standby while the old primary goes on, which then commits three
// times and is killed.
func (h *home) part(old, promoted string) {
	h.t.Helper()
	h.promote(promoted)
	for range 3 {
		h.sql(old, "shop", "INSERT INTO goods VALUES (-1)")
	}
	h.fence(old)
	h.recordPrimary(promoted)
	h.mark(old)
	for _, m := range h.record().Standbys() {
		if m.Name != old {
			h.mark(m.Name)
			h.rejoins(m.Name, &points{dry: true})
		}
	}
}

// recordPrimary records a promotion as a change of primary does.
func (h *home) recordPrimary(member string) {
	h.t.Helper()
	end, err := postgres.EndOfWAL(h.t.Context(), h.machine(member))
	h.must(err)
	_, err = h.st.UpdateCluster(h.t.Context(), "main", func(c *appliance.Cluster) error {
		c.Primary, c.Epoch, c.Timeline, c.Ancestors = member, c.Epoch+1, end.Line.Timeline, end.Line.Ancestors
		c.Promotions = append(c.Promotions, appliance.Promotion{
			Epoch: c.Epoch, Member: member, Timeline: c.Timeline, At: time.Now(), Reason: "test", Switch: c.Ancestors[len(c.Ancestors)-1].At,
		})
		for i := range c.Members {
			if c.Members[i].Name == member {
				c.Members[i].Epoch = c.Epoch
			}
		}
		return nil
	})
	h.must(err)
}

func (h *home) mark(members ...string) {
	h.t.Helper()
	_, err := h.st.UpdateCluster(h.t.Context(), "main", func(c *appliance.Cluster) error {
		for i := range c.Members {
			for _, name := range members {
				if c.Members[i].Name == name {
					c.Members[i].Return = appliance.WayLook
				}
			}
		}
		return nil
	})
	h.must(err)
}

// rejoins runs a rejoin through the crashes that p decides, and returns it.
func (h *home) rejoins(member string, p *points) appliance.Operation {
	h.t.Helper()
	var id string
	h.crashing(func(c controller) (appliance.Operation, error) {
		o, err := c.Submit(h.t.Context(), "main", appliance.OpRejoin, appliance.OperationParams{Member: member})
		id = o.ID
		return o, err
	}, p)
	o, err := h.st.Operation(h.t.Context(), id)
	h.must(err)
	return o
}

func (h *home) wantDiscarded(o appliance.Operation, member string, commits int) {
	h.t.Helper()
	for _, d := range o.Discarded {
		if d.Member == member && d.Commits == commits && d.Bytes > 0 && d.Unknown == "" && d.First != nil && d.Last != nil {
			return
		}
	}
	h.t.Errorf("the operation discarded %+v, want %d commits of %s", o.Discarded, commits, member)
}

// dataDir identifies the member's data directory: a rewind keeps it, a clone doesn't.
func (h *home) dataDir(member string) fs.FileInfo {
	h.t.Helper()
	info, err := os.Stat(h.machine(member).Layout().DataDir)
	h.must(err)
	return info
}

// wantBack checks that the members stream, that their record says so, that the primary's
// rows are theirs, and that nothing of the way back is left.
func (h *home) wantBack(members ...string) {
	h.t.Helper()
	c := h.record()
	want := h.sql(c.Primary, "shop", "SELECT count(*), min(id) FROM goods")
	for _, name := range members {
		m, _ := c.Member(name)
		if m.Return != "" || m.Epoch != c.Epoch {
			h.t.Errorf("%s is recorded with way back %q and epoch %d of %d", name, m.Return, m.Epoch, c.Epoch)
		}
		if got := h.sql(name, "shop", "SELECT count(*), min(id) FROM goods"); got != want {
			h.t.Errorf("%s has %s, the primary %s", name, got, want)
		}
		slots := h.sql(name, "postgres", "SELECT count(*), count(restart_lsn) FROM pg_replication_slots")
		if slots != "2|0" {
			h.t.Errorf("%s has %s slots and slots that keep WAL, want 2|0", name, slots)
		}
		l := h.machine(name).Layout()
		for _, left := range []string{l.DataDir + ".old", l.DataDir + ".partial", filepath.Join(l.ConfDir, "rewinding"), filepath.Join(l.ConfDir, "pgpass-rewind")} {
			if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
				h.t.Errorf("%s is left: %v", left, err)
			}
		}
	}
	ctl, r := h.daemon(nil)
	defer r.Close()
	v, err := ctl.Verify(h.t.Context(), "main")
	h.must(err)
	for _, check := range v.Checks {
		if !check.OK && !unanswered(check) {
			h.t.Errorf("%s on %s: %s", check.Name, check.Member, check.Detail)
		}
	}
}
