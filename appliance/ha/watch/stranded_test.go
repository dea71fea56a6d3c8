package watch

import (
	"errors"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

func TestStrandedStandbyReceivesNothing(t *testing.T) {
	t.Parallel()
	const begin, asks = appliance.LSN(0x5043A48), appliance.LSN(0x6000000)
	c := appliance.Cluster{
		Primary: "node1", Timeline: 2, Ancestors: []appliance.Switch{{Timeline: 1, At: begin}},
		Members: []appliance.Member{{Name: "node1"}, {Name: "node2"}},
	}
	waits := postgres.Standing{InRecovery: true, Waits: true, Received: asks, Replayed: begin}
	for name, tt := range map[string]struct {
		change func(c *appliance.Cluster, p, s *ha.Sighting, asked *postgres.Standing)
		err    error
		want   bool
	}{
		"stranded":                        {want: true},
		"it streams":                      {change: func(_ *appliance.Cluster, p, _ *ha.Sighting, _ *postgres.Standing) { p.Streams = []string{"node2"} }},
		"it replays":                      {change: func(_ *appliance.Cluster, _, _ *ha.Sighting, asked *postgres.Standing) { asked.Waits = false }},
		"it has gone beyond the fork":     {change: func(_ *appliance.Cluster, _, s *ha.Sighting, _ *postgres.Standing) { s.Standing.Replayed++ }},
		"it has gone on since":            {change: func(_ *appliance.Cluster, _, _ *ha.Sighting, asked *postgres.Standing) { asked.Replayed++ }},
		"the primary has that WAL":        {change: func(_ *appliance.Cluster, p, _ *ha.Sighting, _ *postgres.Standing) { p.Standing.Received = asks }},
		"the primary's timeline is first": {change: func(c *appliance.Cluster, _, _ *ha.Sighting, _ *postgres.Standing) { c.Ancestors = nil }},
		"the primary gives no answer":     {change: func(_ *appliance.Cluster, p, _ *ha.Sighting, _ *postgres.Standing) { p.Standing.Answered = false }},
		"it gives no answer":              {err: errors.New("no answer")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, asked := c, waits
			all := []ha.Sighting{
				{Member: "node1", Standing: ha.Standing{Answered: true, Primary: true, Received: begin + 1000, Replayed: begin + 1000}},
				{Member: "node2", Standing: ha.Standing{Answered: true, Received: asks, Replayed: begin}},
			}
			if tt.change != nil {
				tt.change(&c, &all[0], &all[1], &asked)
			}
			received := all[1].Standing.Received
			stranded(c, all, func(appliance.Member) (postgres.Standing, error) { return asked, tt.err })
			if s := all[1].Standing; s.Detached != tt.want || (s.Received != received) != tt.want {
				t.Errorf("got %+v, want it taken for stranded: %t", s, tt.want)
			}
		})
	}
}
