package control

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
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
func runs(name string, recovery bool, timeline uint32, ancestors ...uint32) sighting {
	s := stopped(name, recovery, timeline, ancestors...)
	s.answers, s.process = true, true
	s.seen = postgres.Observation{InRecovery: recovery, Timeline: timeline, SystemIdentifier: testIdentifier, ClusterName: "main/" + name}
	return s
}

// stopped is a member of which there is only the data directory.
func stopped(name string, recovery bool, timeline uint32, ancestors ...uint32) sighting {
	return sighting{
		member: appliance.Member{Name: name}, ancestors: ancestors,
		dir: postgres.DataDir{Exists: true, Initialised: true, InRecovery: recovery, Timeline: timeline, SystemIdentifier: testIdentifier},
	}
}

func gone(name string) sighting { return sighting{member: appliance.Member{Name: name}} }

func TestJudge(t *testing.T) {
	t.Parallel()
	change := func(s sighting, f func(*sighting)) sighting { f(&s); return s }
	for _, c := range []struct {
		name    string
		seen    []sighting
		primary string // empty: refused
		says    string
	}{
		{"as recorded", []sighting{runs("node0", false, 1), runs("node1", true, 1), runs("node2", true, 1)}, "node0", ""},
		{"primary stopped, standbys run", []sighting{stopped("node0", false, 1), runs("node1", true, 1), runs("node2", true, 1)}, "node0", "does not run"},
		{"all stopped", []sighting{stopped("node0", false, 1), stopped("node1", true, 1), stopped("node2", true, 1)}, "node0", ""},
		{"nothing left", []sighting{gone("node0"), gone("node1"), gone("node2")}, "node0", "nothing is left"},
		{"promoted, the old one stopped", []sighting{stopped("node0", false, 1), runs("node1", false, 2, 1), runs("node2", true, 2)}, "node1", "node1 was recorded as standby"},
		{"promoted, the old one gone", []sighting{gone("node0"), runs("node1", false, 2, 1), gone("node2")}, "node1", "no data directory"},
		{"promoted and stopped", []sighting{stopped("node0", false, 1), stopped("node1", false, 2, 1), stopped("node2", true, 1)}, "node1", ""},
		{"promoted, the old one is a standby", []sighting{runs("node0", true, 2), runs("node1", false, 3, 1, 2), runs("node2", true, 3)}, "node1", "is a standby on timeline 2"},
		{"the same one, recovered to a new timeline", []sighting{runs("node0", false, 2, 1), runs("node1", true, 2), gone("node2")}, "node0", ""},

		{"two primaries", []sighting{runs("node0", false, 1), runs("node1", false, 2, 1), runs("node2", true, 1)}, "", "more than one"},
		{"two promoted", []sighting{stopped("node0", false, 1), stopped("node1", false, 2, 1), stopped("node2", false, 2, 1)}, "", "more than one member would"},
		{"the old one runs, the promoted one is stopped", []sighting{runs("node0", false, 1), stopped("node1", false, 2, 1), runs("node2", true, 1)}, "", "node1 is stopped"},
		{"no primary", []sighting{gone("node0"), runs("node1", true, 1), runs("node2", true, 1)}, "", "no member is a primary"},
		{"a standby follows an unknown primary", []sighting{runs("node0", false, 1), runs("node1", true, 2), runs("node2", true, 1)}, "", "node1 follows timeline 2"},
		{"another branch", []sighting{gone("node0"), runs("node1", false, 3, 2), gone("node2")}, "", "does not descend"},
		{"no history", []sighting{gone("node0"), runs("node1", false, 2), gone("node2")}, "", "does not descend"},
		{"the recorded timeline, another member", []sighting{gone("node0"), runs("node1", false, 1), gone("node2")}, "", "does not descend"},
		{"another cluster's data", []sighting{
			runs("node0", false, 1), change(stopped("node1", true, 1), func(s *sighting) { s.dir.SystemIdentifier = "1" }), gone("node2"),
		}, "", "system identifier 1"},
		{"another server", []sighting{
			change(runs("node0", false, 1), func(s *sighting) { s.seen.ClusterName = "shop/node0" }), gone("node1"), gone("node2"),
		}, "", "another server"},
		{"elsewhere", []sighting{
			change(runs("node0", false, 1), func(s *sighting) { s.process, s.dir = false, postgres.DataDir{} }), gone("node1"), gone("node2"),
		}, "", "not in this home"},
		{"silent", []sighting{
			runs("node0", false, 1), change(stopped("node1", true, 1), func(s *sighting) { s.process, s.silence = true, errors.New("starting up") }), gone("node2"),
		}, "", "starting up"},
		{"out of reach", []sighting{
			runs("node0", false, 1), change(gone("node1"), func(s *sighting) { s.lost = errors.New("no route") }), gone("node2"),
		}, "", "no route"},
	} {
		v, err := judge(record(), c.seen)
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

func TestParseHistory(t *testing.T) {
	t.Parallel()
	got := parseHistory("1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore 2000-01-01\nnonsense\n")
	if !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("got %v", got)
	}
}
