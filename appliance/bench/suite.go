package bench

import (
	"fmt"

	"pgapp/appliance"
)

// suite makes pgapp's own experiments, for a cluster of that many standbys.
type suite struct {
	base     appliance.BenchLoad
	standbys int
	quick    bool
}

// Suite returns the experiments of pgapp's own suite, for a cluster of that many standbys.
// Quick ones have the primary alone beside all standbys, and short points.
func Suite(quick bool, seed uint64, standbys int) []appliance.BenchExperiment {
	s := suite{standbys: standbys, quick: quick, base: appliance.BenchLoad{
		ReadPercent: 95, Clients: 16, Zipf: 0.8, WarmupSeconds: 5, DurationSeconds: 20,
		Consistency: "eventual", Through: "members", ReadFrom: "standbys", Seed: seed,
	}}
	if quick {
		s.base.WarmupSeconds, s.base.DurationSeconds, s.base.Clients = 0.3, 1.5, 8
	}
	all := []appliance.BenchExperiment{
		{Name: "reads", Title: "How many more reads do standbys carry?", Measure: "throughput", Variants: s.counts(100)},
		{Name: "mix", Title: "How much more of the site's traffic do standbys carry?", Measure: "throughput", Variants: s.counts(95)},
		{Name: "durability", Title: "What does it cost that commits wait for standbys?", Measure: "commit", Variants: []appliance.BenchVariant{
			s.variant("async", func(v *appliance.BenchVariant) { v.Load.ReadPercent = 50 }),
			s.variant("quorum", func(v *appliance.BenchVariant) { v.Load.ReadPercent, v.Durability = 50, "quorum" }),
		}},
		{Name: "endpoint", Title: "What does the way through the endpoint cost?", Measure: "latency", Variants: []appliance.BenchVariant{
			s.variant("members", func(*appliance.BenchVariant) {}),
			s.variant("endpoint", func(v *appliance.BenchVariant) { v.Load.Through = "endpoint" }),
		}},
		{Name: "consistency", Title: "How many reads go to the primary so that clients see their own writes?", Measure: "redirects", Variants: []appliance.BenchVariant{
			s.variant("eventual", func(v *appliance.BenchVariant) { v.Load.ReadPercent = 80 }),
			s.variant("session", func(v *appliance.BenchVariant) { v.Load.ReadPercent, v.Load.Consistency = 80, "session" }),
		}},
		{Name: "bursts", Title: "How far do standbys fall behind when many write at once?", Measure: "lag", Variants: s.bursts()},
		{Name: "outage", Title: "How long do users wait when the primary moves, or dies?", Measure: "outage", Variants: []appliance.BenchVariant{
			s.event("switchover", appliance.BenchSwitchover, 3),
			s.event("killed primary", appliance.BenchKillPrimary, 5),
		}},
	}
	if quick {
		all = append(all[:1], all[2:]...)
	}
	const repeats = 3
	for i := range all {
		all[i].Repeats = repeats
	}
	return all
}

// variant is the whole cluster under the base load, but for the change.
func (s suite) variant(name string, change func(*appliance.BenchVariant)) appliance.BenchVariant {
	v := appliance.BenchVariant{Name: name, Load: s.base, Standbys: s.standbys, Durability: string(appliance.DurabilityAsync)}
	change(&v)
	return v
}

// counts are the numbers of standbys that read a share of the requests.
func (s suite) counts(reads float64) []appliance.BenchVariant {
	var out []appliance.BenchVariant
	for n := 0; n <= s.standbys; n++ {
		if s.quick && n > 0 && n < s.standbys {
			continue
		}
		name := "primary alone"
		if n == 1 {
			name = "1 standby"
		} else if n > 1 {
			name = fmt.Sprintf("%d standbys", n)
		}
		out = append(out, s.variant(name, func(v *appliance.BenchVariant) { v.Load.ReadPercent, v.Standbys = reads, n }))
	}
	return out
}

// bursts write only, as fast as the primary lets them, or read mostly.
func (s suite) bursts() []appliance.BenchVariant {
	return []appliance.BenchVariant{
		s.variant("usual load", func(*appliance.BenchVariant) {}),
		s.variant("writes only", func(v *appliance.BenchVariant) { v.Load.ReadPercent, v.Load.Clients = 0, 2*v.Load.Clients }),
	}
}

// event has something happen to the primary under requests that arrive whether it answers
// or not.
func (s suite) event(name string, e appliance.BenchEvent, quickSeconds float64) appliance.BenchVariant {
	return s.variant(name, func(v *appliance.BenchVariant) {
		v.Event, v.Load.ReadPercent, v.Load.Consistency, v.Load.Rate, v.Load.Clients = e, 70, "session", 50, 4*v.Load.Clients
		v.Load.DurationSeconds = 30
		if s.quick {
			v.Load.DurationSeconds = quickSeconds
		}
	})
}
