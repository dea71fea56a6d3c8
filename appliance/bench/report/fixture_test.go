package report

import (
	"fmt"
	"math/rand/v2"
	"time"

	"pgapp/appliance"
)

// made makes figures of a bench that never ran, from a seed.
type made struct {
	*rand.Rand
	b appliance.Bench
}

func madeRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// around is v, up to a part of it more or less.
func (m *made) around(v, part float64) float64 { return v * (1 + part*(2*m.Float64()-1)) }

func (m *made) latency(p50 float64, count int64) appliance.BenchLatency {
	p50 = m.around(p50, 0.05)
	return appliance.BenchLatency{Count: count, Mean: p50 * 1.2, P50: p50, P90: p50 * 2, P95: p50 * 2.6, P99: p50 * 6, P999: p50 * 15, Max: p50 * 40}
}

// variant is what the made figures of a variant lie around.
type madeVariant struct {
	appliance.BenchVariant
	perSecond, write, lag, outage, redirected float64
	missed                                    int64
}

func (m *made) point(e string, v madeVariant, round, seconds int) appliance.BenchPoint {
	rate := m.around(v.perSecond, 0.03)
	n := int64(rate * float64(seconds))
	reads := int64(float64(n) * v.Load.ReadPercent / 100)
	p := appliance.BenchPoint{Experiment: e, Variant: v.Name, Round: round, StartedAt: m.b.CreatedAt, Load: v.Load}
	r := appliance.BenchResult{
		Seconds: float64(seconds), Requests: n, PerSecond: rate, Refused: n / 900, Retries: n / 700,
		Kinds:    map[string]appliance.BenchLatency{"all": m.latency(v.write/2, n), "read": m.latency(v.write/4, reads)},
		Answered: map[string]int64{"pg-1": n / 4, "pg-2": n - n/4},
		Used:     map[string]float64{"pg-1": 0.3, "pg-2": m.around(0.4, 0.1)},
		Driver:   appliance.BenchDriver{Cores: m.around(0.5, 0.1)},
	}
	if n > reads {
		r.Kinds["write"] = m.latency(v.write, n-reads)
	}
	r.Redirected, r.Missed = int64(m.around(v.redirected, 0.2)*float64(reads)), v.missed
	if v.Event != "" {
		p.Event = &appliance.BenchOutage{Event: v.Event, At: float64(seconds) / 2, WritesMillis: m.around(v.outage, 0.1), ReadsMillis: m.around(v.outage/9, 0.1), NewPrimary: "pg-2", Errors: 3}
		r.Errors = map[string]int64{"57P01": 3}
	}
	for at := range seconds {
		s := appliance.BenchSecond{At: at, Reads: int64(m.around(rate*v.Load.ReadPercent/100, 0.1)), Writes: int64(m.around(rate*(100-v.Load.ReadPercent)/100, 0.2)), P99: m.around(12, 0.4)}
		if down := at - seconds/2; v.Event != "" && down >= 0 && float64(down)*1000 < v.outage {
			s.Reads, s.Writes, s.Errors = s.Reads/5, 0, 1
		}
		if v.lag > 0 {
			s.LagBytes = map[string]int64{}
			for i := range v.Standbys {
				s.LagBytes[fmt.Sprintf("pg-%d", i+2)] = int64(m.around(v.lag*float64(at%10)/10*float64(i+1)/3, 0.2) * mebibyte)
			}
		}
		r.Series = append(r.Series, s)
	}
	p.Result = r
	return p
}

func (m *made) experiment(name, title, measure string, repeats int, variants ...madeVariant) {
	e := appliance.BenchExperiment{Name: name, Title: title, Measure: measure, Repeats: repeats}
	for _, v := range variants {
		e.Variants = append(e.Variants, v.BenchVariant)
		for round := range repeats {
			m.b.Points = append(m.b.Points, m.point(name, v, round+1, 30))
		}
	}
	m.b.Experiments = append(m.b.Experiments, e)
}

func vary(name string, standbys int, reads, perSecond float64) madeVariant {
	return madeVariant{perSecond: perSecond, write: 4, BenchVariant: appliance.BenchVariant{
		Name: name, Standbys: standbys, Durability: "async",
		Load: appliance.BenchLoad{ReadPercent: reads, Clients: 16, ThinkMillis: 5, Zipf: 1, WarmupSeconds: 5, DurationSeconds: 30, Consistency: "eventual", Through: "endpoint", ReadFrom: "standbys"},
	}}
}

// madeBench is a suite whose figures are made up from a seed.
func madeBench(seed uint64) appliance.Bench {
	begun := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ended := begun.Add(time.Hour)
	m := &made{Rand: madeRand(seed), b: appliance.Bench{
		ID: "20261129t120000-made", Cluster: "main", Kind: appliance.BenchSuite, State: appliance.BenchSucceeded, Name: "made up",
		Command: "pgapp bench suite --seed 7 --cluster main", CreatedAt: begun, EndedAt: &ended,
		Setting: appliance.BenchSetting{
			Pgapp: "test", PostgreSQL: "17.6", Kernel: "Linux 6.12", CPU: "A processor of a test", Cores: 2, MemoryMiB: 8192, Provider: "local", Durability: "async",
			Settings: map[string]string{"shared_buffers": "128MB", "wal_level": "replica", "synchronous_standby_names": "ANY 1 (pg-2, pg-3)"}, Share: 0.4, Seed: seed,
			Members: []appliance.BenchMember{
				{Name: "pg-1", Role: "primary", Address: "127.0.0.1:5433", Place: "/var/lib/pgapp/nodes/pg-1"},
				{Name: "pg-2", Role: "standby", Address: "127.0.0.1:5434", Place: "/var/lib/pgapp/nodes/pg-2", Upstream: "pg-1", Sync: "quorum"},
				{Name: "pg-3", Role: "standby", Address: "127.0.0.1:5435", Place: "/var/lib/pgapp/nodes/pg-3", Upstream: "pg-1", Sync: "async"},
				{Name: "pg-4", Role: "standby", Address: "127.0.0.1:5436", Place: "/var/lib/pgapp/nodes/pg-4", Upstream: "pg-2", Sync: "async"},
			},
		},
	}}
	m.experiment("reads-by-standbys", "How do reads grow with standbys?", "throughput", 3, vary("primary alone", 0, 100, 800), vary("1 standby", 1, 100, 1180), vary("2 standbys", 2, 100, 1530), vary("3 standbys", 3, 100, 1910))
	quorum := vary("quorum", 3, 50, 400)
	quorum.Durability, quorum.write = "quorum", 7
	m.experiment("durability", "What does a quorum cost?", "commit", 3, vary("async", 3, 50, 410), quorum)
	m.experiment("way", "Does the endpoint cost time?", "latency", 3, vary("direct to the members", 3, 95, 900), vary("through the endpoint", 3, 95, 900))
	lag := vary("write bursts", 3, 20, 300)
	lag.lag = 14
	m.experiment("lag", "How far do standbys fall behind?", "lag", 3, lag)
	moved, killed := vary("switchover", 3, 95, 700), vary("killed primary", 3, 95, 700)
	moved.Event, moved.outage, killed.Event, killed.outage = appliance.BenchSwitchover, 900, appliance.BenchKillPrimary, 5200
	m.experiment("outage", "What do the site's users see?", "outage", 3, moved, killed)
	session, eventual := vary("session", 3, 95, 800), vary("eventual", 3, 95, 820)
	session.redirected, eventual.missed = 0.02, 12
	m.experiment("consistency", "What does reading one's own writes cost?", "redirects", 3, eventual, session)
	m.b.Progress = appliance.BenchProgress{Done: len(m.b.Points), Total: len(m.b.Points)}
	return m.b
}
