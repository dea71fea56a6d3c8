//go:build integration

package postgres_test

import (
	"testing"
	"time"

	"pgapp/appliance"
)

func TestPromotionsAreKeptInTheData(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	s := c.control(t, 0, "postgres")
	want := func(epoch uint64) {
		t.Helper()
		if got, err := s.Epoch(t.Context()); err != nil || got != epoch {
			t.Errorf("epoch %d, %v; want %d", got, err, epoch)
		}
	}
	want(0)
	c.sql(t, 0, "postgres", "DROP TABLE pgapp.promotion") // as in a cluster of an older build
	want(0)
	p := appliance.Promotion{Epoch: 3, Member: "node1", Timeline: 2, Switch: 0x1_0500_0148, At: time.Now(), Reason: "failover"}
	for range 2 {
		must(t, s.RecordPromotion(t.Context(), p))
	}
	want(3)
	p.Epoch = 2 // a late one
	must(t, s.RecordPromotion(t.Context(), p))
	want(3)
	if got := c.sql(t, 0, "postgres", "SELECT epoch, member, timeline, switch_lsn, reason FROM pgapp.promotion ORDER BY 1"); got != "2|node1|2|1/5000148|failover\n3|node1|2|1/5000148|failover" {
		t.Errorf("rows:\n%s", got)
	}
	must(t, s.ProveWrite(t.Context()))
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()")
	must(t, s.ProveWrite(t.Context())) // the setting is the sessions', not the server's
}
