package report

import (
	"fmt"

	"pgapp/appliance"
)

// percentile is one of the latencies that a distribution has.
type percentile struct {
	Name string
	Of   func(appliance.BenchLatency) float64
}

func percentiles() []percentile {
	return []percentile{
		{"50%", func(l appliance.BenchLatency) float64 { return l.P50 }},
		{"90%", func(l appliance.BenchLatency) float64 { return l.P90 }},
		{"95%", func(l appliance.BenchLatency) float64 { return l.P95 }},
		{"99%", ninetyNine},
		{"99.9%", func(l appliance.BenchLatency) float64 { return l.P999 }},
	}
}

func ninetyNine(l appliance.BenchLatency) float64 { return l.P99 }

func half(l appliance.BenchLatency) float64 { return l.P50 }

// latency is a figure of a kind of request.
func latency(kind string, of func(appliance.BenchLatency) float64) func(appliance.BenchPoint) (float64, bool) {
	return func(p appliance.BenchPoint) (float64, bool) {
		l, ok := p.Result.Kinds[kind]
		return of(l), ok && l.Count > 0
	}
}

// experiment is the section of one experiment.
func experiment(b appliance.Bench, e appliance.BenchExperiment, n int) section {
	m := measureOf(e)
	all := measuredOf(b, e, m)
	s := section{ID: fmt.Sprintf("experiment-%d", n+1), Heading: fmt.Sprintf("Experiment %d: %s", n+1, e.Title)}
	plots := []plot{barsOf(capital(m.Axis)+", by variant", m, all)}
	if p, ok := percentilePlot(b, e, m.Kind); ok {
		plots = append(plots, p)
	}
	plots = append(plots, seriesPlots(b, e, m)...)
	s.Blocks = []block{
		{Finding: conclusion(b, e)},
		{Plots: plots},
		{Table: figures(m, all)},
		{Table: answers(b, e)},
		{Table: work(b, e)},
		{Table: loads(e)},
	}
	return s
}

// figures is the table of an experiment's measure.
func figures(m measure, all []measured) *grid {
	t := &grid{Caption: capital(axisLabel(m)), Numbers: 1, Head: []string{"Variant", "Rounds", "Median", "Least", "Most"}}
	if len(all) > 1 {
		t.Head = append(t.Head, "Ratio to the first", "Difference")
	}
	for i, v := range all {
		row := []string{v.Name, number(float64(v.Rounds)), "–", "–", "–"}
		if v.Rounds > 0 {
			row = []string{v.Name, number(float64(v.Rounds)), number(v.Median), number(v.Min), number(v.Max)}
		}
		if len(all) > 1 {
			row = append(row, ratioCells(v, all[0], i == 0)...)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func ratioCells(v, base measured, first bool) []string {
	if first {
		return []string{"1", "–"}
	}
	ratio := "–"
	if r, ok := v.ratioTo(base.spread); ok {
		ratio = r.times()
		if r.Rounds > 1 && base.Rounds > 1 {
			ratio += " (" + r.between() + ")"
		}
	}
	return []string{ratio, verdict(v.spread, base.spread)}
}

// verdict tells in a few words whether v differs from base.
func verdict(v, base spread) string {
	switch {
	case v.Rounds == 0 || base.Rounds == 0:
		return "not measured"
	case v.Rounds == 1 || base.Rounds == 1:
		return "unknown, one round"
	case v.overlaps(base):
		return "no difference"
	case !v.differs(base):
		return "unknown, few rounds"
	case v.Median > base.Median:
		return "more"
	}
	return "less"
}

// answers is the table of how many requests were answered and how long they took.
func answers(b appliance.Bench, e appliance.BenchExperiment) *grid {
	t := &grid{Caption: "Answers and their times", Numbers: 1, Head: []string{
		"Variant", "Requests a second", "Median read, ms", "99th percentile of reads, ms", "Median write, ms", "99th percentile of writes, ms",
	}}
	for _, v := range e.Variants {
		points := finished(b, e.Name, v.Name)
		row := []string{v.Name, spreadCell(spreadBy(points, throughputOf(e).Of))}
		for _, kind := range []string{kindRead, kindWrite} {
			row = append(row, spreadCell(spreadBy(points, latency(kind, half))), spreadCell(spreadBy(points, latency(kind, ninetyNine))))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// work is the table of what went wrong, over all rounds, and of what was used.
func work(b appliance.Bench, e appliance.BenchExperiment) *grid {
	t := &grid{Caption: "Failures, and processors used", Numbers: 1, Head: []string{
		"Variant", "Failed", "Refused", "Repeated", "Sent to the primary", "Own writes missed", "Cores, members", "Cores, driver", "Late rounds",
	}}
	for _, v := range e.Variants {
		points := finished(b, e.Name, v.Name)
		var failed, refused, retries, redirected, missed, late int64
		for _, p := range points {
			refused, retries = refused+p.Result.Refused, retries+p.Result.Retries
			redirected, missed = redirected+p.Result.Redirected, missed+p.Result.Missed
			for _, n := range p.Result.Errors {
				failed += n
			}
			if p.Result.Driver.Late {
				late++
			}
		}
		t.Rows = append(t.Rows, []string{
			v.Name, number(float64(failed)), number(float64(refused)), number(float64(retries)), number(float64(redirected)), number(float64(missed)), spreadCell(spreadBy(points, memberCores)),
			spreadCell(spreadBy(points, func(p appliance.BenchPoint) (float64, bool) { return p.Result.Driver.Cores, true })), number(float64(late)),
		})
	}
	return t
}

// memberCores is what all members used of the processors.
func memberCores(p appliance.BenchPoint) (cores float64, ok bool) {
	for _, c := range p.Result.Used {
		cores += c
	}
	return cores, len(p.Result.Used) > 0
}

// loads is the table of what was varied.
func loads(e appliance.BenchExperiment) *grid {
	t := &grid{Caption: "The variants", Numbers: 10, Head: []string{
		"Variant", "Standbys", "Durability", "Reads", "Load", "Consistency", "Through", "Reads from", "Seconds", "Event",
	}}
	for _, v := range e.Variants {
		l := v.Load
		loop := fmt.Sprintf("%s, %s ms pause", counted(l.Clients, "client"), number(l.ThinkMillis))
		if l.Rate > 0 {
			loop = fmt.Sprintf("%s/s arrive, %s at most", number(l.Rate), counted(l.Clients, "client"))
		}
		t.Rows = append(t.Rows, []string{
			v.Name, number(float64(v.Standbys)), v.Durability, number(l.ReadPercent) + "%", loop, l.Consistency, l.Through, l.ReadFrom,
			fmt.Sprintf("%s after %s", number(l.DurationSeconds), number(l.WarmupSeconds)), dash(string(v.Event)),
		})
	}
	return t
}

// percentilePlot is how long requests of a kind took, by variant; ok is false where no
// variant has figures.
func percentilePlot(b appliance.Bench, e appliance.BenchExperiment, kind string) (plot, bool) {
	noun := map[string]string{kindAll: "requests", kindRead: "reads", kindWrite: "writes"}[kind]
	l := lines{Title: "Time of " + noun + ", by percentile", XAxis: "percentile", YAxis: "milliseconds, logarithmic", Log: true}
	for _, p := range percentiles() {
		l.XNames = append(l.XNames, p.Name)
	}
	for _, v := range e.Variants {
		points := finished(b, e.Name, v.Name)
		var spots []spot
		for i, p := range percentiles() {
			if s := spreadBy(points, latency(kind, p.Of)); s.Rounds > 0 {
				spots = append(spots, spot{float64(i), s.Median})
			}
		}
		if len(spots) > 0 {
			l.Series = append(l.Series, line{v.Name, spots})
		}
	}
	return l.plot(), len(l.Series) > 0
}

// secondSlack is how much of its last second a point may lack. What ends after a point's
// time is counted in a second of its own, which looks like an outage.
const secondSlack = 0.5

// seriesPlots show a variant's middle round by the second.
func seriesPlots(b appliance.Bench, e appliance.BenchExperiment, m measure) []plot {
	if m.Unit == "MiB" {
		return lagPlots(b, e, m)
	}
	l := lines{Title: "Answered requests by the second, in the median round", XAxis: "seconds", YAxis: "answered requests a second"}
	for _, v := range e.Variants {
		p, ok := middlePoint(finished(b, e.Name, v.Name), m.Of)
		if !ok || len(p.Result.Series) < 2 {
			continue
		}
		var spots []spot
		for _, s := range p.Result.Series {
			if whole := float64(s.At+1) <= p.Result.Seconds+secondSlack; whole {
				spots = append(spots, spot{float64(s.At), float64(s.Reads + s.Writes)})
			}
		}
		l.Series = append(l.Series, line{v.Name, spots})
		if p.Event != nil {
			l.Marks = append(l.Marks, mark{p.Event.At, fmt.Sprintf("%s with %s, at %s s", p.Event.Event, quoted(v.Name), number(p.Event.At))})
		}
	}
	if len(l.Series) == 0 {
		return nil
	}
	return []plot{l.plot()}
}

// lagPlots show each standby's lag by the second, a plot for each variant.
func lagPlots(b appliance.Bench, e appliance.BenchExperiment, m measure) []plot {
	var plots []plot
	for _, v := range e.Variants {
		p, ok := middlePoint(finished(b, e.Name, v.Name), m.Of)
		if !ok {
			continue
		}
		l := lines{Title: "Lag by the second with " + quoted(v.Name) + ", in the median round", XAxis: "seconds", YAxis: "MiB still to replay"}
		for _, name := range standbysOf(p.Result.Series) {
			var spots []spot
			for _, s := range p.Result.Series {
				if n, ok := s.LagBytes[name]; ok {
					spots = append(spots, spot{float64(s.At), float64(n) / mebibyte})
				}
			}
			l.Series = append(l.Series, line{name, spots})
		}
		plots = append(plots, l.plot())
	}
	return plots
}
