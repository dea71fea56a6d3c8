package postgres

import (
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	rows := []appliance.ReplicationRow{
		{ApplicationName: "node1", State: "catchup"}, {ApplicationName: "node1", State: "streaming", SyncState: "sync"}, {ApplicationName: "node2", State: "backup"},
	}
	slots := []Slot{{Name: "a", Active: true, WALStatus: "reserved"}, {Name: "b", WALStatus: "reserved"}, {Name: "c", Active: true, WALStatus: "lost"}}
	primary := map[string]int{"max_connections": 100, "max_wal_senders": 40}
	count := tableCount{sizes: map[string]int64{"a": 1, "b": 1}, rows: map[string]int64{"a": 3, "b": 4}}
	standby := tableCount{sizes: map[string]int64{"a": 1, "c": 1}, rows: map[string]int64{"a": 2}}
	paused := &subject{seen: Observation{InRecovery: true, PauseState: "pause requested", LSN: "0/1"}}
	for _, c := range []struct {
		name string
		got  verdict
		want verdict
	}{
		{"streams beside an older session", streamingVerdict(rows, "node1"), pass("streaming, sync, 0 bytes behind")},
		{"takes a backup", streamingVerdict(rows, "node2"), fail("the state in pg_stat_replication is backup, not streaming")},
		{"is not there", streamingVerdict(rows, "node3"), fail("the primary's pg_stat_replication has no row for this member")},
		{"active slot", slotVerdict(slots, "a"), pass("slot a is active, its WAL is reserved")},
		{"idle slot", slotVerdict(slots, "b"), fail("no standby streams from slot b")},
		{"lost slot", slotVerdict(slots, "c"), fail("slot c has lost WAL that the standby needs")},
		{"no slot", slotVerdict(slots, "d"), fail("the primary has no slot d")},
		{"timelines", sameTimeline(Observation{Timeline: 2}, Observation{Timeline: 1}), fail("the member is on timeline 1, but the primary is on timeline 2")},
		{"higher parameters", notLower(primary, map[string]int{"max_connections": 200, "max_wal_senders": 40}), pass("2 parameters are not lower than the primary's")},
		{
			"lower parameters", notLower(primary, map[string]int{"max_connections": 99}),
			fail("max_connections is 99, but 100 on the primary; max_wal_senders is 0, but 40 on the primary"),
		},
		{"no checksums", checksumVerdict("off"), fail("data checksums are off")},
		{"overrides", settingsVerdict([]string{"port is set in postgresql.auto.conf"}), fail("port is set in postgresql.auto.conf, against pgapp.conf")},
		{"pause requested", paused.replaying(), fail("replay is pause requested at 0/1")},
		{"differences", fail("%s", sentence(count.differences(standby, nil))), fail("a has 2 rows, but 3 on the primary; b is missing; c is not on the primary")},
		{"locked", countError(&ServerError{stateLockTimeout, "lock timeout"}, "here"), notProven("the rows can't be counted here for now: lock timeout (SQLSTATE 55P03)")},
		{"not allowed", countError(errors.New("no"), "here"), fail("the rows can't be counted here: no")},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

func TestMemberFacts(t *testing.T) {
	t.Parallel()
	f := memberFacts{parameters: map[string]int{}}
	for _, r := range [][3]string{
		{"data_checksums", "on", ""}, {"max_connections", "30", "/d/postgresql.conf"}, {"port", "1", "/d/pgapp.conf"}, {"wal_level", "x", "/d/postgresql.auto.conf"},
	} {
		if err := f.add(r[0], r[1], r[2]); err != nil {
			t.Error(err)
		}
	}
	if f.checksums != "on" || f.parameters["max_connections"] != 30 || strings.Join(f.overrides, ",") != "wal_level is set in postgresql.auto.conf" {
		t.Errorf("%+v", f)
	}
	if err := f.add("max_connections", "many", ""); err == nil {
		t.Error("a parameter that is no number was taken")
	}
}

func TestTablesToCount(t *testing.T) {
	t.Parallel()
	c := tableCount{sizes: map[string]int64{"big": countBytes, "small": 1, "empty": 0, "also": 1}}
	if got := strings.Join(c.toCount(nil), " "); got != "empty also small" {
		t.Errorf("within the budget: %s", got)
	}
	if got := strings.Join(c.toCount(map[string]int64{"big": 1, "gone": 1}), " "); got != "big" {
		t.Errorf("as asked: %s", got)
	}
}

func TestReportOfAbsentPrimary(t *testing.T) {
	t.Parallel()
	v := newVerification(VerifyInput{Targets: []Target{{Member: "node0", Primary: true}, {Member: "my-node"}}})
	v.primary.err = errors.New("stopped")
	v.members[1].seen.InRecovery = true
	r := v.report()
	if r.OK || r.Replication == nil {
		t.Errorf("%+v", r)
	}
	if v.members[1].Slot != "my_node" {
		t.Errorf("slot %s", v.members[1].Slot)
	}
	for _, c := range r.Checks {
		needs := c.Name == CheckStreaming || c.Name == CheckTimeline || c.Name == CheckMarker || c.Name == CheckRowCounts || c.Name == CheckParameters || c.Name == CheckSlotActive || c.Name == CheckNotAhead
		if c.Member == "my-node" && needs != (c.Skipped && c.Detail == "the primary can't be queried") && c.Name != CheckIdentifier {
			t.Errorf("%+v", c)
		}
	}
	if got := sentence([]string{"1", "2", "3", "4", "5", "6", "7"}); got != "1; 2; 3; 4; 5; and 2 more" {
		t.Error(got)
	}
}
