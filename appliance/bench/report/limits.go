package report

import (
	"fmt"
	"maps"
	"slices"

	"pgapp/appliance"
)

const (
	// enoughRounds is the least number of rounds by which a spread says much.
	enoughRounds = 3
	// longPoint is the time in seconds below which rare work, as a checkpoint, is hardly
	// in a point.
	longPoint = 60
)

// limits says what the figures do not show, by rule.
func limits(b appliance.Bench) section {
	var all []string
	if b.State != appliance.BenchSucceeded {
		all = append(all, fmt.Sprintf("The bench is %s: %d of %s were measured.", b.State, len(b.Points), counted(max(b.Progress.Total, len(b.Points)), "point")))
	}
	if b.Error != nil {
		all = append(all, "It ended with the error: "+b.Error.Message+".")
	}
	all = append(all, hostLimits(b)...)
	all = append(all, pointLimits(b)...)
	all = append(all, b.Notes...)
	s := section{ID: "limits", Heading: "Limits"}
	if len(all) > 0 {
		s.Blocks = []block{{List: all}}
	}
	return s
}

func hostLimits(b appliance.Bench) []string {
	s := b.Setting
	all := []string{"All members and the driver ran on one host, so the network between machines is not in the figures, and members shared its disks."}
	switch members := float64(len(s.Members)); {
	case s.Share <= 0:
		all = append(all, fmt.Sprintf("Members shared all of the host's %s, so figures for more members do not show how a cluster scales over machines.", counted(s.Cores, "core")))
	case s.Share*members > float64(s.Cores):
		all = append(all, fmt.Sprintf("The shares of %s come to %s cores, and the host has %d: not every member had its share whenever all were busy.", counted(len(s.Members), "member"), number(s.Share*members), s.Cores))
	}
	if s.Share > 0 && slices.ContainsFunc(b.Points, func(p appliance.BenchPoint) bool { return p.Event != nil }) {
		all = append(all, "A member that a switchover or a kill has restarted may have had no share of the processors for the rest of that point, and its use may not be counted.")
	}
	return all
}

func pointLimits(b appliance.Bench) []string {
	var all []string
	partial, shortest := 0, 0.0
	failed := map[string]int64{}
	for _, p := range b.Points {
		if p.Partial {
			partial++
			continue
		}
		if shortest == 0 || p.Result.Seconds < shortest {
			shortest = p.Result.Seconds
		}
		for code, n := range p.Result.Errors {
			failed[code] += n
		}
		if d := p.Result.Driver; d.Late {
			all = append(all, fmt.Sprintf("The driver was late in %s, %s, round %d: 99%% of requests began within %s ms of their time, the latest after %s ms.", p.Experiment, quoted(p.Variant), p.Round, number(d.LateP99), number(d.LateMax)))
		}
	}
	if partial > 0 {
		all = append(all, fmt.Sprintf("%s ended before their time and are in samples.csv and report.json only.", plural(int64(partial), "point that", "points that")))
	}
	if shortest > 0 && shortest < longPoint {
		all = append(all, fmt.Sprintf("The shortest point lasted %s seconds, so rare work, as a checkpoint, may be in some points and not in others.", number(shortest)))
	}
	for _, code := range slices.Sorted(maps.Keys(failed)) {
		all = append(all, fmt.Sprintf("%s failed with %s.", plural(failed[code], "request", "requests"), code))
	}
	return append(all, roundLimits(b)...)
}

// roundLimits names variants with few rounds.
func roundLimits(b appliance.Bench) []string {
	var few []string
	for _, e := range b.Experiments {
		for _, v := range e.Variants {
			if n := len(finished(b, e.Name, v.Name)); n < max(enoughRounds, e.Repeats) {
				few = append(few, fmt.Sprintf("%s of %s (%d)", quoted(v.Name), e.Name, n))
			}
		}
	}
	if len(few) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Fewer rounds than %d, or than the experiment asks for: %s.", enoughRounds, joined(few))}
}

// repeating says how to measure the same again.
func repeating(b appliance.Bench) section {
	s := b.Setting
	machine := grid{Caption: "Versions and machine", Numbers: 2, Head: []string{"What", "Which"}, Rows: [][]string{
		{"pgapp", s.Pgapp},
		{"PostgreSQL", s.PostgreSQL},
		{"Kernel", s.Kernel},
		{"Processor", s.CPU},
		{"Cores", fmt.Sprint(s.Cores)},
		{"Memory", fmt.Sprintf("%d MiB", s.MemoryMiB)},
		{"Seed", fmt.Sprint(s.Seed)},
	}}
	blocks := append(texts("report.json holds the whole record, with each load and each histogram. This command measures it again:"), block{Code: b.Command}, block{Table: &machine})
	if len(s.Settings) > 0 {
		t := grid{Caption: "PostgreSQL's settings that differ from its defaults", Numbers: 2, Head: []string{"Setting", "Value"}}
		for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
			t.Rows = append(t.Rows, []string{name, s.Settings[name]})
		}
		blocks = append(blocks, block{Table: &t})
	}
	return section{ID: "repeat", Heading: "How to repeat it", Blocks: blocks}
}

// standbysOf are the standbys whose lag is in a series, by name.
func standbysOf(series []appliance.BenchSecond) []string {
	names := map[string]bool{}
	for _, s := range series {
		for name := range s.LagBytes {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
