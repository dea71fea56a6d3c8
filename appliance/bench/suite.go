package bench

import "pgapp/appliance"

// Suite returns the experiments of pgapp's own suite, for a cluster as it is: none
// changes how many members there are.
func Suite(quick bool, seed uint64, standbys int, durability string) []appliance.BenchExperiment {
	base := appliance.BenchLoad{
		ReadPercent: 95, Clients: 8, Zipf: 0.8, WarmupSeconds: 5, DurationSeconds: 20,
		Consistency: "eventual", Through: "members", ReadFrom: "standbys", Seed: seed,
	}
	if quick {
		base.WarmupSeconds, base.DurationSeconds = 1, 3
	}
	variant := func(name string, change func(*appliance.BenchLoad)) appliance.BenchVariant {
		v := appliance.BenchVariant{Name: name, Load: base, Standbys: standbys, Durability: durability}
		change(&v.Load)
		return v
	}
	move := variant("switchover", func(l *appliance.BenchLoad) { l.ReadPercent, l.Consistency = 70, "session" })
	move.Event = appliance.BenchSwitchover
	const repeats = 3
	return []appliance.BenchExperiment{
		{Name: "reads-from", Title: "Do standbys relieve the primary of reads?", Measure: "throughput", Repeats: repeats, Variants: []appliance.BenchVariant{
			variant("primary", func(l *appliance.BenchLoad) { l.ReadFrom = "primary" }),
			variant("standbys", func(*appliance.BenchLoad) {}),
		}},
		{Name: "endpoint", Title: "What does the way through the endpoint cost?", Measure: "latency", Repeats: repeats, Variants: []appliance.BenchVariant{
			variant("members", func(*appliance.BenchLoad) {}),
			variant("endpoint", func(l *appliance.BenchLoad) { l.Through = "endpoint" }),
		}},
		{Name: "consistency", Title: "How many reads go to the primary so that clients see their own writes?", Measure: "redirects", Repeats: repeats, Variants: []appliance.BenchVariant{
			variant("eventual", func(l *appliance.BenchLoad) { l.ReadPercent = 80 }),
			variant("session", func(l *appliance.BenchLoad) { l.ReadPercent, l.Consistency = 80, "session" }),
		}},
		{Name: "switchover", Title: "How long do users wait when the primary moves?", Measure: "outage", Repeats: repeats, Variants: []appliance.BenchVariant{move}},
	}
}
