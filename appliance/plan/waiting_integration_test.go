//go:build integration

package plan_test

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

// TestUpMovesPrimaryForAPendingRestart has a parameter on record and in the primary's
// files that waits for a restart, as a change that was cancelled leaves it. An up that
// changes nothing applies it to all members, and moves the primary.
func TestUpMovesPrimaryForAPendingRestart(t *testing.T) {
	t.Parallel()
	h := newHome(t, 254, packed(t))
	h.create(1)
	const name, value = "track_activity_query_size", "4096"
	h.edit(func(c *appliance.Cluster) { c.Spec.Parameters = map[string]string{name: value} })
	file := filepath.Join(h.machine("node0").Layout().DataDir, "pgapp.conf")
	conf, err := os.ReadFile(file)
	h.must(err)
	h.must(h.machine("node0").WriteFile(t.Context(), file, append(conf, []byte(name+" = "+value+"\n")...), 0o600))
	h.sql("node0", "postgres", "SELECT pg_reload_conf()")
	const pending = "SELECT pending_restart FROM pg_settings WHERE name = '" + name + "'"
	h.eventually("the parameter waits for a restart", func() bool { return h.sql("node0", "postgres", pending) == "t" })

	c, r := h.daemon(nil)
	defer r.Close()
	one := 1
	o, err := c.Up(t.Context(), appliance.Spec{Name: "main", Standbys: &one}, appliance.UpOptions{})
	h.must(err)
	if o.Params.Change != nil {
		t.Fatalf("the up changes %+v", o.Params.Change)
	}
	h.succeeded(follow(t, r, o.ID))
	record := h.record()
	if record.Primary != "node1" || len(record.Promotions) != 1 {
		t.Errorf("the primary is %s after %d promotions, want node1 after one: %s", record.Primary, len(record.Promotions), o.Note)
	}
	for _, m := range record.Members {
		if got := h.sql(m.Name, "postgres", "SELECT setting FROM pg_settings WHERE name = '"+name+"'"); got != value {
			t.Errorf("%s has %s, want %s", m.Name, got, value)
		}
	}
	h.streaming("node0")
}
