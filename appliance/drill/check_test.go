package drill

import (
	"slices"
	"testing"

	"pgapp/appliance"
)

func sound() appliance.ClusterStatus {
	return appliance.ClusterStatus{
		Phase: appliance.PhaseReady, Primary: "a", Epoch: 2, Timeline: 2,
		Promotions: []appliance.Promotion{{Epoch: 2, Member: "a", Timeline: 2}},
		Promise:    &appliance.Promise{Set: []string{"b", "c"}, K: 1},
		Members: []appliance.MemberStatus{
			{Name: "a", State: appliance.StateRunning},
			{Name: "b", State: appliance.StateStreaming},
			{Name: "c", State: appliance.StateStreaming},
		},
	}
}

func TestCheckSeesWhatIsLeft(t *testing.T) {
	t.Parallel()
	if found := left(sound()); len(found) != 0 {
		t.Errorf("a sound cluster: %q", found)
	}
	for name, tc := range map[string]struct {
		change func(*appliance.ClusterStatus)
		want   Rule
	}{
		"an operation":   {func(s *appliance.ClusterStatus) { s.Operation = "1" }, RuleLeft},
		"a change":       {func(s *appliance.ClusterStatus) { s.Change = &appliance.ChangeStatus{} }, RuleLeft},
		"degraded":       {func(s *appliance.ClusterStatus) { s.Phase = appliance.PhaseDegraded }, RuleLeft},
		"a way back":     {func(s *appliance.ClusterStatus) { s.Members[1].State = appliance.StateFenced }, RuleLeft},
		"a stopped one":  {func(s *appliance.ClusterStatus) { s.Members[1].State = appliance.StateStopped }, RuleStreams},
		"no primary":     {func(s *appliance.ClusterStatus) { s.Members[0].State = appliance.StateUnreachable }, RuleStreams},
		"an epoch ahead": {func(s *appliance.ClusterStatus) { s.Epoch++ }, RuleRecord},
	} {
		s := sound()
		tc.change(&s)
		if found := left(s); len(found) != 1 || found[0].Rule != tc.want {
			t.Errorf("%s: %q, want %q", name, found, tc.want)
		}
	}
}

func TestCheckComparesServersWithTheRecord(t *testing.T) {
	t.Parallel()
	primary := observation{writes: true, timeline: 2, setting: `ANY 1 ("b", "c")`, slots: []string{"b", "c"}}
	standby := observation{slots: []string{"a", "c"}}
	for name, tc := range map[string]struct {
		member string
		change func(*observation)
		want   []Rule
	}{
		"the primary":                    {"a", func(*observation) {}, nil},
		"a standby":                      {"b", func(*observation) {}, nil},
		"a standby without slots":        {"b", func(o *observation) { o.slots = nil }, nil},
		"a primary that reads":           {"a", func(o *observation) { o.writes = false }, []Rule{RuleRecord}},
		"a standby that writes":          {"b", func(o *observation) { *o = primary; o.slots = []string{"a", "c"} }, []Rule{RuleRecord}},
		"another timeline":               {"a", func(o *observation) { o.timeline = 1 }, []Rule{RuleRecord}},
		"a setting without a promised k": {"a", func(o *observation) { o.setting = "" }, []Rule{RuleRecord}},
		"a slot of nobody":               {"b", func(o *observation) { o.slots = []string{"a", "c", "d"} }, []Rule{RuleLeft}},
		"a slot of its own":              {"b", func(o *observation) { o.slots = []string{"b"} }, []Rule{RuleLeft}},
		"a slot missing":                 {"a", func(o *observation) { o.slots = []string{"c"} }, []Rule{RuleStreams}},
	} {
		o := standby
		if tc.member == "a" {
			o = primary
		}
		tc.change(&o)
		var got []Rule
		for _, f := range o.against(sound(), tc.member) {
			got = append(got, f.Rule)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestSettingHoldsAPromise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		setting string
		set     []string
		k       int
		want    bool
	}{
		{"", nil, 0, true},
		{"", []string{"b"}, 1, false},
		{`ANY 1 ("b", "c")`, []string{"b", "c"}, 1, true},
		{`ANY 1 ("b")`, []string{"b", "c"}, 1, true},
		{`ANY 1 ("b", "c")`, []string{"b"}, 1, false},
		{`ANY 2 ("b", "c", "d")`, []string{"b", "c"}, 1, true},
		{`ANY 2 ("b", "c", "d")`, []string{"b", "c"}, 2, false},
		{`FIRST 1 ("b")`, []string{"b"}, 1, false},
	} {
		if got := holds(tc.setting, appliance.Promise{Set: tc.set, K: tc.k}); got != tc.want {
			t.Errorf("%s with any %d of %q: %t", tc.setting, tc.k, tc.set, got)
		}
	}
}
