package control

import (
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

const testIdentifier = "7123456789012345678"

// record is a cluster of three whose primary is node0 on timeline 1.
func record() appliance.Cluster {
	c := appliance.Cluster{Name: "main", Primary: "node0", Epoch: 4, Timeline: 1, SystemIdentifier: testIdentifier, Initialised: true}
	for i := range 3 {
		c.Members = append(c.Members, appliance.Member{Name: appliance.MemberName(i), Host: "127.0.0.1", Port: 5432 + i})
	}
	return c
}

// runs is a member that answers.
func runs(name string, recovery bool, timeline uint32, ancestors ...uint32) observe.Look {
	l := stopped(name, recovery, timeline, ancestors...)
	l.Process = observe.Known(true)
	l.Server = observe.Known(postgres.Observation{InRecovery: recovery, Timeline: timeline, SystemIdentifier: testIdentifier, ClusterName: "main/" + name})
	return l
}

// stopped is a member of which there is only the data directory.
func stopped(name string, recovery bool, timeline uint32, ancestors ...uint32) observe.Look {
	var history []postgres.Ancestor
	for _, t := range ancestors {
		history = append(history, postgres.Ancestor{Timeline: t})
	}
	l := gone(name)
	l.Ancestors = observe.Known(history)
	l.DataDir = observe.Known(postgres.DataDir{Exists: true, Initialised: true, InRecovery: recovery, Timeline: timeline, SystemIdentifier: testIdentifier})
	return l
}

func gone(name string) observe.Look {
	return observe.Look{
		Member: appliance.Member{Name: name}, Process: observe.Known(false), DataDir: observe.Known(postgres.DataDir{}),
		Server: observe.Unknown[postgres.Observation](errors.New("connection refused")),
	}
}

// lose is a member whose machine can't be looked at.
func lose(name, why string) observe.Look {
	l := gone(name)
	l.Process, l.DataDir = observe.Unknown[bool](errors.New(why)), observe.Fact[postgres.DataDir]{}
	return l
}

func TestFindPrimary(t *testing.T) {
	t.Parallel()
	change := func(l observe.Look, f func(*observe.Look)) observe.Look { f(&l); return l }
	for _, c := range []struct {
		name    string
		seen    []observe.Look
		primary string // empty: refused
		says    string
	}{
		{"as recorded", []observe.Look{runs("node0", false, 1), runs("node1", true, 1), runs("node2", true, 1)}, "node0", ""},
		{"primary stopped, standbys run", []observe.Look{stopped("node0", false, 1), runs("node1", true, 1), runs("node2", true, 1)}, "node0", "does not run"},
		{"all stopped", []observe.Look{stopped("node0", false, 1), stopped("node1", true, 1), stopped("node2", true, 1)}, "node0", ""},
		{"nothing left", []observe.Look{gone("node0"), gone("node1"), gone("node2")}, "node0", "nothing is left"},
		{"promoted, the old one stopped", []observe.Look{stopped("node0", false, 1), runs("node1", false, 2, 1), runs("node2", true, 2)}, "node1", "node1 was recorded as standby"},
		{"promoted, the old one gone", []observe.Look{gone("node0"), runs("node1", false, 2, 1), gone("node2")}, "node1", "no data directory"},
		{"promoted and stopped", []observe.Look{stopped("node0", false, 1), stopped("node1", false, 2, 1), stopped("node2", true, 1)}, "node1", ""},
		{"promoted, the old one is a standby", []observe.Look{runs("node0", true, 2), runs("node1", false, 3, 1, 2), runs("node2", true, 3)}, "node1", "is a standby on timeline 2"},
		{"the same one, recovered to a new timeline", []observe.Look{runs("node0", false, 2, 1), runs("node1", true, 2), gone("node2")}, "node0", ""},

		{"two primaries", []observe.Look{runs("node0", false, 1), runs("node1", false, 2, 1), runs("node2", true, 1)}, "", "more than one"},
		{"two promoted", []observe.Look{stopped("node0", false, 1), stopped("node1", false, 2, 1), stopped("node2", false, 2, 1)}, "", "more than one member would"},
		{"the old one runs, the promoted one is stopped", []observe.Look{runs("node0", false, 1), stopped("node1", false, 2, 1), runs("node2", true, 1)}, "", "node1 is stopped"},
		{"no primary", []observe.Look{gone("node0"), runs("node1", true, 1), runs("node2", true, 1)}, "", "no member is a primary"},
		{"a standby follows an unknown primary", []observe.Look{runs("node0", false, 1), runs("node1", true, 2), runs("node2", true, 1)}, "", "node1 follows timeline 2"},
		{"another branch", []observe.Look{gone("node0"), runs("node1", false, 3, 2), gone("node2")}, "", "does not descend"},
		{"no history", []observe.Look{gone("node0"), runs("node1", false, 2), gone("node2")}, "", "does not descend"},
		{"the recorded timeline, another member", []observe.Look{gone("node0"), runs("node1", false, 1), gone("node2")}, "", "does not descend"},
		{"another cluster's data", []observe.Look{
			runs("node0", false, 1), change(stopped("node1", true, 1), func(l *observe.Look) {
				l.DataDir = observe.Known(postgres.DataDir{Exists: true, Initialised: true, SystemIdentifier: "1"})
			}), gone("node2"),
		}, "", "system identifier 1"},
		{"another server", []observe.Look{
			change(runs("node0", false, 1), func(l *observe.Look) { l.Server = observe.Known(postgres.Observation{ClusterName: "shop/node0"}) }), gone("node1"), gone("node2"),
		}, "", "another server"},
		{"elsewhere", []observe.Look{
			change(runs("node0", false, 1), func(l *observe.Look) { l.Process, l.DataDir = observe.Known(false), observe.Known(postgres.DataDir{}) }), gone("node1"), gone("node2"),
		}, "", "this home has neither"},
		{"silent", []observe.Look{
			runs("node0", false, 1), change(stopped("node1", true, 1), func(l *observe.Look) {
				l.Process, l.Server = observe.Known(true), observe.Unknown[postgres.Observation](errors.New("starting up"))
			}), gone("node2"),
		}, "", "starting up"},
		{"out of reach", []observe.Look{
			runs("node0", false, 1), lose("node1", "no route"), gone("node2"),
		}, "", "no route"},
		{"out of reach is not called gone", []observe.Look{
			runs("node0", false, 1), lose("node1", "no route"), gone("node2"),
		}, "", "node1 (recorded standby): unknown, can't be looked at"},
	} {
		v, err := findPrimary(record(), c.seen)
		switch {
		case c.primary == "" && err == nil:
			t.Errorf("%s: took %s", c.name, v.primary)
		case c.primary == "":
			p := appliance.AsProblem(err)
			if p.ID != appliance.ErrConflict || !strings.Contains(p.Detail, c.says) || !strings.Contains(p.Hint, "pgapp adopt") {
				t.Errorf("%s: %v\n%s", c.name, p, p.Detail)
			}
		case err != nil || v.primary != c.primary || !strings.Contains(strings.Join(v.notes, "\n"), c.says):
			t.Errorf("%s: primary %q, notes %q, error %v", c.name, v.primary, v.notes, err)
		}
	}
}
