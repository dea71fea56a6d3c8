package control

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

func TestNewerEpochs(t *testing.T) {
	t.Parallel()
	epoch := func(n uint64) observe.Look { return observe.Look{Epoch: observe.Known(n)} }
	dir := func(timeline uint32) observe.Look {
		return observe.Look{DataDir: observe.Known(postgres.DataDir{Timeline: timeline})}
	}
	under := func(phase appliance.ChangePhase, epoch uint64, tried ...string) *appliance.PrimaryChange {
		return &appliance.PrimaryChange{Phase: phase, Epoch: epoch, Tried: tried}
	}
	for name, c := range map[string]struct {
		timeline uint32
		change   *appliance.PrimaryChange
		looks    []observe.Look
		want     bool
	}{
		"nobody answers":                  {1, nil, []observe.Look{{}, {}}, false},
		"the same epoch":                  {1, nil, []observe.Look{epoch(4), epoch(3)}, false},
		"a newer epoch":                   {1, nil, []observe.Look{epoch(4), epoch(5)}, true},
		"an older timeline":               {2, nil, []observe.Look{dir(1)}, false},
		"a newer timeline":                {1, nil, []observe.Look{dir(2)}, true},
		"a timeline not on record":        {0, nil, []observe.Look{dir(2)}, false},
		"promoting":                       {1, under(appliance.ChangePromoting, 5), []observe.Look{epoch(5), dir(2)}, false},
		"promoting, and one beyond it":    {1, under(appliance.ChangePromoting, 5), []observe.Look{epoch(6)}, true},
		"electing after one was given up": {1, under(appliance.ChangeElecting, 0, "node1"), []observe.Look{epoch(5)}, false},
		"a change not decided":            {1, under(appliance.ChangeFencing, 0), []observe.Look{epoch(5)}, true},
		"a change that is done":           {1, under(appliance.ChangeDone, 4), []observe.Look{epoch(5)}, true},
	} {
		r := trio()
		r.Timeline, r.Change = c.timeline, c.change
		if got := newer(r, c.looks); (got != "") != c.want {
			t.Errorf("%s: %q, want newer %t", name, got, c.want)
		}
	}
}
