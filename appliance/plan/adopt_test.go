package plan

import (
	"testing"
	"time"

	"pgapp/appliance"
)

func TestAdoptIntoFillsTheRecord(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	record := appliance.Cluster{
		Name: "main", Primary: "node0", Epoch: 2, Timeline: 1, Revision: 7, Initialised: true, Phase: appliance.PhaseStopped,
		Promise: appliance.Promise{Set: []string{"node1"}, K: 1},
		Change:  &appliance.PrimaryChange{Phase: appliance.ChangePromoting, To: "node2"},
		Members: []appliance.Member{{Name: "node0"}, {Name: "node1", Return: appliance.WayLook, WantStopped: true}, {Name: "node2", Epoch: 2}},
	}
	d := appliance.AdoptDecision{
		Revision: 7, FromEpoch: 2, FromTimeline: 1, Running: []string{"node1"}, Stray: []string{"node0"},
		Ancestors: []appliance.Switch{{Timeline: 1, At: 0x5000148}},
		Found:     appliance.Adoption{Cluster: "main", Primary: "node1", Was: "node0", Epoch: 6, Timeline: 2},
	}
	for range 2 { // a repeat changes nothing
		if err := adoptInto(&record, d, now); err != nil {
			t.Fatal(err)
		}
	}
	want := appliance.Promotion{Epoch: 6, Member: "node1", Timeline: 2, Switch: 0x5000148, At: now, Reason: "adopted"}
	if len(record.Promotions) != 1 || record.Promotions[0] != want {
		t.Errorf("promotions %+v, want %+v", record.Promotions, want)
	}
	if !record.Promise.None() || record.Change.Phase != appliance.ChangeCancelled || record.Phase != appliance.PhaseReady || len(record.Ancestors) != 1 {
		t.Errorf("record %+v", record)
	}
	m := record.Members
	if m[0].Return != appliance.WayLook || m[0].Epoch != 0 || m[1].Return != "" || m[1].Epoch != 6 || m[1].WantStopped || m[2].Epoch != 2 {
		t.Errorf("members %+v", m)
	}
	for name, change := range map[string]func(*appliance.Cluster){
		"revision": func(c *appliance.Cluster) { c.Revision = 8 },
		"epoch":    func(c *appliance.Cluster) { c.Epoch = 3 },
		"timeline": func(c *appliance.Cluster) { c.Timeline = 3 },
	} {
		other := appliance.Cluster{Name: "main", Primary: "node0", Epoch: 2, Timeline: 1, Revision: 7}
		change(&other)
		if err := adoptInto(&other, d, now); !appliance.IsProblem(err, appliance.ErrConflict) || other.Primary != "node0" {
			t.Errorf("another %s: %v, primary %s", name, err, other.Primary)
		}
	}
}
