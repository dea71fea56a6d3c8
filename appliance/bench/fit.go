package bench

import (
	"fmt"
	"slices"

	"pgapp/appliance"
)

// Fit leaves out what the cluster can't do, and says so in notes: a variant with more
// standbys than the cluster has, and one whose primary is killed where pgapp would not
// replace it. Reads of a variant without standbys come from the primary.
func Fit(all []appliance.BenchExperiment, s appliance.ClusterStatus) (kept []appliance.BenchExperiment, notes []string, err error) {
	standbys := len(s.Members) - 1
	for _, e := range all {
		e.Variants = slices.Clone(e.Variants)
		e.Variants = slices.DeleteFunc(e.Variants, func(v appliance.BenchVariant) bool {
			why := unfit(v, s, standbys)
			if why != "" {
				notes = append(notes, fmt.Sprintf("%s of %s was left out: %s", v.Name, e.Name, why))
			}
			return why != ""
		})
		for i := range e.Variants {
			v := &e.Variants[i]
			if v.Standbys == 0 {
				v.Load.ReadFrom = "primary"
			}
			if why := impossible(*v); why != "" {
				return nil, nil, appliance.NewProblem(appliance.ErrUsage, "variant %s of experiment %s: %s", v.Name, e.Name, why)
			}
		}
		if len(e.Variants) > 0 {
			kept = append(kept, e)
		}
	}
	if len(kept) == 0 {
		return nil, nil, appliance.NewProblem(appliance.ErrConflict, "no suite: none of its variants fits cluster %q", s.Name).WithHint("the first reason: %s", append(notes, "it has no experiment")[0])
	}
	return kept, notes, nil
}

// unfit says why the cluster can't be brought into the variant's state.
func unfit(v appliance.BenchVariant, s appliance.ClusterStatus, standbys int) string {
	switch {
	case v.Standbys > standbys:
		return fmt.Sprintf("it needs %d standbys, and the cluster has %d", v.Standbys, standbys)
	case v.Load.Through == "endpoint" && s.Endpoints == nil:
		return "the cluster has no endpoints"
	case v.Event == appliance.BenchKillPrimary && s.Automatic != appliance.AutomaticOn:
		return "pgapp replaces no dead primary of the cluster by itself"
	}
	return ""
}

// impossible says what contradicts itself in a variant.
func impossible(v appliance.BenchVariant) string {
	switch {
	case v.Standbys == 0 && v.Durability == string(appliance.DurabilityQuorum):
		return "quorum needs a standby"
	case v.Standbys == 0 && v.Event != "":
		return "a " + string(v.Event) + " needs a standby that takes over"
	}
	return ""
}
