package watch

import (
	"testing"
	"time"

	"pgapp/appliance"
)

func TestFailoversCountThoseOfTheLastHourSinceResume(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	own := func(d time.Duration) appliance.Promotion {
		return appliance.Promotion{Reason: string(appliance.OpFailover), Evidence: "node0 died", At: ago(d)}
	}
	c := appliance.Cluster{Promotions: []appliance.Promotion{
		own(2 * time.Hour), own(50 * time.Minute), own(30 * time.Minute),
		{Reason: string(appliance.OpFailover), At: ago(20 * time.Minute)}, // a user's
		own(10 * time.Minute),
	}}
	if n, since := failovers(c, now); n != 3 || since != 10*time.Minute {
		t.Errorf("%d failovers, the last one %s ago; want 3 and 10m", n, since)
	}
	resumed := ago(15 * time.Minute)
	c.Resumed = &resumed
	if n, since := failovers(c, now); n != 1 || since != 10*time.Minute {
		t.Errorf("since resume %d failovers, the last one %s ago; want 1 and 10m", n, since)
	}
	resumed = now
	if n, _ := failovers(c, now); n != 0 {
		t.Errorf("after resume %d failovers, want 0", n)
	}
}
