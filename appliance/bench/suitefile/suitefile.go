package suitefile

import (
	_ "embed"
	"slices"

	"pgapp/appliance"
)

// full and quick are pgapp's own files.
var (
	//go:embed full.yaml
	full []byte
	//go:embed quick.yaml
	quick []byte
)

// Own is the text of pgapp's own file: the whole one, or the one of short points.
func Own(short bool) []byte {
	if short {
		return slices.Clone(quick)
	}
	return slices.Clone(full)
}

// File is a file that has been checked.
type File struct {
	// Name is the suite's.
	Name string
	// Seed is what chance is drawn from. It may be changed before Experiments is called.
	Seed uint64
	// experiments have allStandbys and no durability where the cluster's are meant.
	experiments []appliance.BenchExperiment
}

// allStandbys stands for as many standbys as the cluster has.
const allStandbys = -1

// Experiments are those of the file for a cluster with so many standbys and that
// durability. A variant may want more standbys than there are.
func (f File) Experiments(standbys int, durability appliance.Durability) []appliance.BenchExperiment {
	out := slices.Clone(f.experiments)
	for i := range out {
		out[i].Variants = slices.Clone(out[i].Variants)
		for k := range out[i].Variants {
			v := &out[i].Variants[k]
			v.Load.Seed = f.Seed
			if v.Standbys == allStandbys {
				v.Standbys = standbys
			}
			if v.Durability == "" {
				v.Durability = string(durability)
			}
		}
	}
	return out
}
