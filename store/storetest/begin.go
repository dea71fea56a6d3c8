package storetest

import (
	"errors"
	"testing"

	"pgapp/appliance"
)

func beginRecords(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	refuse := errors.New("the primary has moved")
	record := func(err error) func(*appliance.Cluster) error {
		return func(c *appliance.Cluster) error {
			c.Epoch++
			return err
		}
	}
	err := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Supersede: "op1", Record: record(refuse)})
	if err != refuse {
		t.Errorf("a refused beginning: error %v, want %v", err, refuse)
	}
	got, err := s.Running(ctx, "main")
	equal(t, "running operation", got, NewOperation("op1", "main"), err)
	c, err := s.Cluster(ctx, "main")
	equal(t, "cluster", c, NewCluster("main").Cluster, err)
	if err := s.Begin(ctx, appliance.Beginning{Operation: NewOperation("op2", "main"), Supersede: "op1", Record: record(nil)}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Cluster(ctx, "main"); c.Epoch != 2 || err != nil {
		t.Errorf("epoch %d (%v), want 2", c.Epoch, err)
	}
}

// revisionLeavesOut changes what a change of primary notes, and then a field that the
// revision covers.
func revisionLeavesOut(t *testing.T, s Store) {
	ctx := t.Context()
	begin(t, s, NewOperation("op1", "main"), NewCluster("main"), "")
	for name, change := range map[string]func(*appliance.Cluster){
		"epoch":     func(c *appliance.Cluster) { c.Epoch++ },
		"timeline":  func(c *appliance.Cluster) { c.Timeline++ },
		"ancestors": func(c *appliance.Cluster) { c.Ancestors = append(c.Ancestors, appliance.Switch{Timeline: 1}) },
		"pause":     func(c *appliance.Cluster) { c.Pause = &appliance.Pause{Since: c.CreatedAt} },
		"endpoints": func(c *appliance.Cluster) {
			c.Endpoints, c.EndpointsHeld = &appliance.Endpoints{RW: 5000, RO: 5001}, true
		},
		"resumed":        func(c *appliance.Cluster) { c.Resumed = &c.CreatedAt },
		"promotions":     func(c *appliance.Cluster) { c.Promotions = append(c.Promotions, appliance.Promotion{Epoch: 1}) },
		"setting":        func(c *appliance.Cluster) { c.Sync = appliance.Promise{Set: []string{"node1"}, K: 1} },
		"promise":        func(c *appliance.Cluster) { c.Promise = appliance.Promise{Set: []string{"node1"}, K: 1} },
		"change":         func(c *appliance.Cluster) { c.Change = &appliance.PrimaryChange{Operation: "op1"} },
		"member's epoch": func(c *appliance.Cluster) { c.Members[1].Epoch++ },
		"member's way":   func(c *appliance.Cluster) { c.Members[1].Return = appliance.WayLook },
		"nothing":        func(*appliance.Cluster) {},
	} {
		c, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error {
			change(c)
			return nil
		})
		if err != nil || c.Revision != 0 {
			t.Errorf("%s: revision %d (%v), want 0", name, c.Revision, err)
		}
	}
	c, err := s.UpdateCluster(ctx, "main", func(c *appliance.Cluster) error {
		c.Members[1].WantStopped = true
		return nil
	})
	if err != nil || c.Revision != 1 || c.Epoch != 2 || c.Members[1].Return != appliance.WayLook {
		t.Errorf("a member stopped: %+v (%v)", c, err)
	}
}
