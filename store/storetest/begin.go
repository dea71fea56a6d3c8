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
