package bench_test

import (
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/bench"
)

func TestResumableNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	members := []appliance.BenchMember{{Name: "node0", Address: "127.0.0.1:1", Place: "local"}, {Name: "node1", Address: "127.0.0.1:2", Place: "local"}}
	b := appliance.Bench{
		ID: "b", Kind: appliance.BenchSuite, Experiments: ownSuite(t, true, 1, 1), Setting: appliance.BenchSetting{PostgreSQL: "17.2", Cores: 4, Members: members, Settings: map[string]string{"shared_buffers": "128MB"}},
		Before: &appliance.BenchBefore{UUID: "u", Primary: "node0"},
	}
	for name, tc := range map[string]struct {
		change func(*appliance.Bench, *appliance.BenchSetting, *appliance.ClusterStatus)
		say    string
	}{
		"nothing": {func(*appliance.Bench, *appliance.BenchSetting, *appliance.ClusterStatus) {}, ""},
		"a run": {func(b *appliance.Bench, _ *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			b.Kind = appliance.BenchRun
		}, "no suite"},
		"all measured":    {func(b *appliance.Bench, _ *appliance.BenchSetting, _ *appliance.ClusterStatus) { b.Experiments = nil }, "nothing left"},
		"another cluster": {func(_ *appliance.Bench, _ *appliance.BenchSetting, s *appliance.ClusterStatus) { s.UUID = "v" }, "made anew"},
		"a member gone": {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			n.Members = n.Members[:1]
		}, "node1 is gone"},
		"a new member": {func(b *appliance.Bench, _ *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			b.Setting.Members = members[:1]
		}, "node1 is new"},
		"an address": {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			n.Members[1].Address = "127.0.0.1:3"
		}, "node1 is at 127.0.0.1:3"},
		"a moved primary": {func(_ *appliance.Bench, _ *appliance.BenchSetting, s *appliance.ClusterStatus) { s.Primary = "node1" }, "pgapp switchover --to node0"},
		"another server":  {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) { n.PostgreSQL = "17.3" }, "PostgreSQL's version is 17.3, and was 17.2"},
		"another parameter": {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			n.Settings = map[string]string{"shared_buffers": "256MB"}
		}, "PostgreSQL's parameter shared_buffers is 256MB, and was 128MB"},
		"a parameter given back": {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			n.Settings = nil
		}, "PostgreSQL's parameter shared_buffers is the default, and was 128MB"},
		"another parameter of pgapp's": {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) {
			n.Settings = map[string]string{"shared_buffers": "128MB", "synchronous_standby_names": "ANY 1 (node1)"}
		}, ""},
		"another share":     {func(_ *appliance.Bench, n *appliance.BenchSetting, _ *appliance.ClusterStatus) { n.Share = 0.5 }, "share"},
		"nothing of before": {func(b *appliance.Bench, _ *appliance.BenchSetting, _ *appliance.ClusterStatus) { b.Before = nil }, "no suite"},
	} {
		old, now, s := b, b.Setting, appliance.ClusterStatus{Name: "main", UUID: "u", Primary: "node0"}
		now.Members = slices.Clone(members)
		tc.change(&old, &now, &s)
		err := bench.Resumable(old, now, s)
		switch {
		case tc.say == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.say != "" && (!appliance.IsProblem(err, appliance.ErrConflict) || !strings.Contains(err.Error(), tc.say)):
			t.Errorf("%s: %v, want %q", name, err, tc.say)
		}
	}
}

func TestSameSuiteNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	b := appliance.Bench{ID: "b", Experiments: ownSuite(t, true, 1, 2)}
	for name, tc := range map[string]struct {
		asked func() []appliance.BenchExperiment
		say   string
	}{
		"the same":      {func() []appliance.BenchExperiment { return ownSuite(t, true, 1, 2) }, ""},
		"another seed":  {func() []appliance.BenchExperiment { return ownSuite(t, true, 2, 2) }, "variant primary alone of experiment reads"},
		"the full size": {func() []appliance.BenchExperiment { return ownSuite(t, false, 1, 2) }, "experiment reads has changed"},
		"fewer":         {func() []appliance.BenchExperiment { return ownSuite(t, true, 1, 2)[:2] }, "experiment endpoint is gone"},
		"more": {func() []appliance.BenchExperiment {
			return append(ownSuite(t, true, 1, 2), appliance.BenchExperiment{Name: "mine"})
		}, "experiment mine is new"},
		"another order": {func() []appliance.BenchExperiment {
			all := ownSuite(t, true, 1, 2)
			slices.Reverse(all)
			return all
		}, "experiment outage stands where reads was"},
	} {
		err := bench.SameSuite(b, tc.asked())
		switch {
		case tc.say == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.say != "" && (!appliance.IsProblem(err, appliance.ErrConflict) || !strings.Contains(err.Error(), tc.say)):
			t.Errorf("%s: %v, want %q", name, err, tc.say)
		}
	}
}
