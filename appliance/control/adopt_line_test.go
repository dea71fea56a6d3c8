package control

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

func TestStrayedMembers(t *testing.T) {
	t.Parallel()
	dir := func(timeline uint32, standby bool) observe.Fact[postgres.DataDir] {
		return observe.Known(postgres.DataDir{Exists: true, Initialised: true, Timeline: timeline, InRecovery: standby})
	}
	server := func(timeline uint32, lsn string) observe.Fact[postgres.Observation] {
		return observe.Known(postgres.Observation{InRecovery: true, Timeline: timeline, LSN: lsn})
	}
	history := func(end string) observe.Fact[[]postgres.Ancestor] {
		return observe.Known([]postgres.Ancestor{{Timeline: 1, End: end}})
	}
	primary := observe.Look{
		Server:    observe.Known(postgres.Observation{Timeline: 2, LSN: "0/6000000"}),
		DataDir:   dir(2, false),
		Ancestors: history("0/5000148"),
	}
	for name, c := range map[string]struct {
		look observe.Look
		want bool
	}{
		"no data directory":              {observe.Look{DataDir: observe.Known(postgres.DataDir{})}, false},
		"old primary, stopped":           {observe.Look{DataDir: dir(1, false)}, true},
		"standby of the new timeline":    {observe.Look{Server: server(2, "0/5500000"), DataDir: dir(2, true), Ancestors: history("0/5000148")}, false},
		"the same, without history":      {observe.Look{Server: server(2, "0/5500000"), DataDir: dir(2, true)}, false},
		"standby of another timeline 2":  {observe.Look{Server: server(2, "0/5500000"), DataDir: dir(2, true), Ancestors: history("0/4000000")}, true},
		"standby before the switch":      {observe.Look{Server: server(1, "0/5000148"), DataDir: dir(1, true)}, false},
		"standby after the switch":       {observe.Look{Server: server(1, "0/5000150"), DataDir: dir(1, true)}, true},
		"stopped standby of timeline 1":  {observe.Look{DataDir: dir(1, true)}, true},
		"stopped standby of timeline 2":  {observe.Look{DataDir: dir(2, true)}, false},
		"standby of an unknown timeline": {observe.Look{Server: server(9, "0/1"), DataDir: dir(9, true)}, true},
	} {
		if got := strayed(c.look, primary); got != c.want {
			t.Errorf("%s: strayed %t, want %t", name, got, c.want)
		}
	}
	if line := primary.Line(); line.Timeline != 2 || len(line.Ancestors) != 1 || line.Ancestors[0] != (appliance.Switch{Timeline: 1, At: 0x5000148}) {
		t.Errorf("line %+v", line)
	}
}
