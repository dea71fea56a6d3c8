package bench

import (
	"fmt"
	"maps"
	"slices"

	"pgapp/appliance"
)

// Resumable refuses a suite that can't go on, since what it has measured would not be
// comparable with what it has still to measure.
func Resumable(b appliance.Bench, now appliance.BenchSetting, s appliance.ClusterStatus) error {
	if b.Kind != appliance.BenchSuite || b.Before == nil {
		return appliance.NewProblem(appliance.ErrConflict, "bench %s is no suite that can be resumed", b.ID).WithHint("pgapp bench ls shows the benches")
	}
	if len(TurnsLeft(b)) == 0 {
		return appliance.NewProblem(appliance.ErrConflict, "bench %s has nothing left to measure", b.ID).WithHint("pgapp bench report %s writes its report", b.ID)
	}
	why := otherCluster(b, now, s)
	if why == "" {
		why = otherSetting(b.Setting, now)
	}
	if why != "" {
		return appliance.NewProblem(appliance.ErrConflict, "bench %s can't be resumed: %s", b.ID, why).WithHint("pgapp bench suite begins a new one")
	}
	return nil
}

// otherCluster says in what the cluster differs from the one that was measured.
func otherCluster(b appliance.Bench, now appliance.BenchSetting, s appliance.ClusterStatus) string {
	if s.UUID != b.Before.UUID {
		return fmt.Sprintf("cluster %q has been made anew since", s.Name)
	}
	find := func(in []appliance.BenchMember, name string) (appliance.BenchMember, bool) {
		i := slices.IndexFunc(in, func(m appliance.BenchMember) bool { return m.Name == name })
		if i < 0 {
			return appliance.BenchMember{}, false
		}
		return in[i], true
	}
	for _, m := range b.Setting.Members {
		switch n, ok := find(now.Members, m.Name); {
		case !ok:
			return fmt.Sprintf("member %s is gone", m.Name)
		case n.Place != m.Place || n.Address != m.Address:
			return fmt.Sprintf("member %s is at %s (%s), and was at %s (%s)", m.Name, n.Address, n.Place, m.Address, m.Place)
		}
	}
	for _, m := range now.Members {
		if _, ok := find(b.Setting.Members, m.Name); !ok {
			return fmt.Sprintf("member %s is new", m.Name)
		}
	}
	if s.Primary != b.Before.Primary {
		return fmt.Sprintf("the primary is %s, and was %s: pgapp switchover --to %s moves it", s.Primary, b.Before.Primary, b.Before.Primary)
	}
	return ""
}

// otherSetting says in what else the measurements would differ.
func otherSetting(was, now appliance.BenchSetting) string {
	for _, f := range []struct{ what, was, now string }{
		{"pgapp's version", was.Pgapp, now.Pgapp},
		{"PostgreSQL's version", was.PostgreSQL, now.PostgreSQL},
		{"the processor", was.CPU, now.CPU},
		{"the number of cores", fmt.Sprint(was.Cores), fmt.Sprint(now.Cores)},
		{"each member's share of the cores", fmt.Sprint(was.Share), fmt.Sprint(now.Share)},
	} {
		if f.was != f.now {
			return fmt.Sprintf("%s is %s, and was %s", f.what, f.now, f.was)
		}
	}
	return otherParameter(was.Settings, now.Settings)
}

// pgappsOwn are the parameters that pgapp sets anew as the cluster's members change roles.
var pgappsOwn = []string{"synchronous_standby_names", "primary_conninfo", "primary_slot_name"} //nolint:gochecknoglobals // a constant

// otherParameter says which of PostgreSQL's parameters differs, the first by name.
func otherParameter(was, now map[string]string) string {
	all := map[string]string{}
	maps.Copy(all, was)
	maps.Copy(all, now)
	text := func(value string, ok bool) string {
		if !ok {
			return "the default"
		}
		return value
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x, before := was[name]
		y, after := now[name]
		if (x != y || before != after) && !slices.Contains(pgappsOwn, name) {
			return fmt.Sprintf("PostgreSQL's parameter %s is %s, and was %s", name, text(y, after), text(x, before))
		}
	}
	return ""
}

// SameSuite refuses experiments that are not those of the record.
func SameSuite(b appliance.Bench, asked []appliance.BenchExperiment) error {
	differ := func(format string, args ...any) error {
		return appliance.NewProblem(appliance.ErrConflict, "bench %s can't be resumed: "+format, append([]any{b.ID}, args...)...).
			WithHint("without --file and --quick the suite goes on as it began")
	}
	for i := range max(len(asked), len(b.Experiments)) {
		switch {
		case i >= len(asked):
			return differ("experiment %s is gone from the suite", b.Experiments[i].Name)
		case i >= len(b.Experiments):
			return differ("experiment %s is new in the suite", asked[i].Name)
		}
		x, y := b.Experiments[i], asked[i]
		if x.Name != y.Name {
			return differ("experiment %s stands where %s was", y.Name, x.Name)
		}
		if x.Measure != y.Measure || x.Repeats != y.Repeats || len(x.Variants) != len(y.Variants) {
			return differ("experiment %s has changed", x.Name)
		}
		for k := range x.Variants {
			if x.Variants[k] != y.Variants[k] {
				return differ("variant %s of experiment %s has changed", y.Variants[k].Name, x.Name)
			}
		}
	}
	return nil
}
