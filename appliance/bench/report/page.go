package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"pgapp/appliance"
)

// page is a report before it is HTML or PDF.
type page struct {
	Title    string
	Subtitle string
	Sections []section
}

// section is a part of a page under a heading.
type section struct {
	// ID is a word that no other section has.
	ID      string
	Heading string
	Blocks  []block
}

// block is one thing of a section: the field that is set.
type block struct {
	Text string
	// Finding is a sentence that follows from the figures.
	Finding string
	List    []string
	Code    string
	Table   *grid
	Plots   []plot
}

// grid is a table. Columns from Numbers on hold numbers.
type grid struct {
	Caption string
	Head    []string
	Numbers int
	Rows    [][]string
}

func texts(all ...string) []block {
	var blocks []block
	for _, t := range all {
		if t != "" {
			blocks = append(blocks, block{Text: t})
		}
	}
	return blocks
}

// pageOf is the report of a bench.
func pageOf(b appliance.Bench) page {
	title := "A movie-rental site on cluster " + b.Cluster
	sub := fmt.Sprintf("%s %s (%s), begun %s, %s; pgapp %s, PostgreSQL %s", capital(string(b.Kind)), b.ID, b.Name, b.CreatedAt.UTC().Format(time.DateTime+" MST"), b.State, b.Setting.Pgapp, b.Setting.PostgreSQL)
	p := page{Title: title, Subtitle: sub, Sections: []section{question(b), clusterSection(b), method(b)}}
	for i, e := range b.Experiments {
		p.Sections = append(p.Sections, experiment(b, e, i))
	}
	for _, s := range []section{durabilitySection(b), outageSection(b), limits(b), repeating(b)} {
		if len(s.Blocks) > 0 {
			p.Sections = append(p.Sections, s)
		}
	}
	return p
}

// question asks, and answers by the sentences of the experiments.
func question(b appliance.Bench) section {
	standbys := 0
	for _, m := range b.Setting.Members {
		if m.Upstream != "" {
			standbys++
		}
	}
	s := section{ID: "question", Heading: "The question", Blocks: texts(
		fmt.Sprintf("How do one primary and %s carry a web application with many readers, such as an online movie rental?", plural(int64(standbys), "hot standby", "hot standbys")),
		"What the figures say, each sentence made by rule from the figures further down:",
	)}
	var said []string
	for _, e := range b.Experiments {
		said = append(said, e.Title+" "+conclusion(b, e))
	}
	if len(said) == 0 {
		return section{ID: s.ID, Heading: s.Heading, Blocks: append(s.Blocks[:1], block{Text: "The bench has no experiments."})}
	}
	s.Blocks = append(s.Blocks, block{List: said})
	return s
}

func clusterSection(b appliance.Bench) section {
	s := section{ID: "cluster", Heading: "The cluster"}
	if len(b.Setting.Members) == 0 {
		s.Blocks = texts("The record names no members.")
		return s
	}
	t := grid{Caption: "Members when the bench began", Head: []string{"Member", "Role", "Address", "Place", "Streams from", "Replication"}, Numbers: 6}
	for _, m := range b.Setting.Members {
		t.Rows = append(t.Rows, []string{m.Name, m.Role, m.Address, m.Place, dash(m.Upstream), dash(m.Sync)})
	}
	s.Blocks = append(texts(fmt.Sprintf("Provider %s, durability %s.", b.Setting.Provider, b.Setting.Durability)),
		block{Plots: []plot{topologyOf(b.Setting.Members)}}, block{Table: &t})
	return s
}

func method(b appliance.Bench) section {
	s := section{ID: "method", Heading: "The method", Blocks: texts(
		"Clients send the requests of a movie-rental site: categories, films of a category, search, a film's page and a customer's rentals are reads; to rent, to return and to pay are writes. Data are a copy that exists while the bench runs. Each point is warmed up first, and the warm-up is left out.",
	)}
	var open, closed bool
	for _, e := range b.Experiments {
		for _, v := range e.Variants {
			open, closed = open || v.Load.Rate > 0, closed || v.Load.Rate <= 0
		}
	}
	if open {
		s.Blocks = append(s.Blocks, block{Text: "In an open loop requests arrive at a set rate, and a request's time counts from its intended start, so waiting in the driver is part of it."})
	}
	if closed {
		s.Blocks = append(s.Blocks, block{Text: "In a closed loop each client sends its next request after the answer and a pause; a slower cluster then gets fewer requests."})
	}
	s.Blocks = append(s.Blocks, texts(
		"Tables show the median of the rounds with the least and the most. Two variants differ where these spreads do not overlap; where they overlap, the report says “no difference”. A ratio's range goes from the least to the most that any two rounds allow.",
		byChance(b),
		shares(b.Setting),
		fmt.Sprintf("Chance was drawn from seed %d.", b.Setting.Seed),
	)...)
	return s
}

// byChance says how often the rule for a difference finds one that is not there.
func byChance(b appliance.Bench) string {
	repeats, comparisons := 0, 0
	for _, e := range b.Experiments {
		if len(e.Variants) < 2 {
			continue
		}
		comparisons += len(e.Variants) - 1
		if repeats == 0 || e.Repeats < repeats {
			repeats = max(e.Repeats, 1)
		}
	}
	if comparisons == 0 {
		return ""
	}
	one := spread{Rounds: repeats}
	if !one.enough(one) {
		return fmt.Sprintf("With %s of each variant nothing is told from chance.", counted(repeats, "round"))
	}
	return fmt.Sprintf("The spreads of two variants that are alike lie apart by chance too: with %s each in 1 of %s comparisons, and this report makes %s. Fewer rounds than three of each tell nothing.",
		counted(repeats, "round"), number(math.Floor(1/chanceApart(repeats, repeats)+0.5)), number(float64(comparisons)))
}

// shares says what each member had of the processors.
func shares(s appliance.BenchSetting) string {
	if s.Share <= 0 {
		return fmt.Sprintf("Members had no share of their own: all used the machine's %s.", counted(s.Cores, "core"))
	}
	return fmt.Sprintf("Each member had the same share of the processors: %s of %s.", number(s.Share), counted(s.Cores, "core"))
}

// durabilitySection compares what experiments with several durabilities say of its cost.
func durabilitySection(b appliance.Bench) section {
	s := section{ID: "durability", Heading: "What durability costs"}
	for _, e := range b.Experiments {
		kinds := map[string]bool{}
		for _, v := range e.Variants {
			if v.Event == "" {
				kinds[v.Durability] = true
			}
		}
		if len(kinds) < 2 {
			continue
		}
		write := e
		write.Measure = "commit"
		t := grid{Caption: "From experiment " + e.Name, Head: []string{"Variant", "Durability", "Answered requests a second", "Median write, ms", "99th percentile of writes, ms"}, Numbers: 2}
		for _, v := range e.Variants {
			points := finished(b, e.Name, v.Name)
			t.Rows = append(t.Rows, []string{
				v.Name, v.Durability, spreadCell(spreadBy(points, throughputOf(e).Of)),
				spreadCell(spreadBy(points, measureOf(write).Of)), spreadCell(spreadBy(points, latency(kindWrite, ninetyNine))),
			})
		}
		for _, m := range []measure{throughputOf(e), measureOf(write)} {
			s.Blocks = append(s.Blocks, block{Finding: compared(m, measuredOf(b, e, m))})
		}
		s.Blocks = append(s.Blocks, block{Table: &t})
	}
	return s
}

// outageSection sums up all events.
func outageSection(b appliance.Bench) section {
	t := grid{Caption: "Median of the rounds, with the least and the most", Numbers: 2, Head: []string{
		"Variant", "Event", "Rounds", "Without a write, ms", "Without a read, ms", "Failed requests", "Lost rentals", "Primary afterwards",
	}}
	var s section
	for _, e := range b.Experiments {
		for _, v := range e.Variants {
			if row := eventRow(b, e, v); row != nil {
				t.Rows = append(t.Rows, row)
			}
		}
		if lost := lostRentals(b, e.Name); lost != "" {
			s.Blocks = append(s.Blocks, block{Finding: lost})
		}
	}
	if len(t.Rows) == 0 {
		return section{}
	}
	return section{ID: "outage", Heading: "Outage", Blocks: append(append(texts(
		"The outage is the longest time around the event in which no write, or no read, of the site was answered."), s.Blocks...), block{Table: &t})}
}

func eventRow(b appliance.Bench, e appliance.BenchExperiment, v appliance.BenchVariant) []string {
	var events []appliance.BenchPoint
	var lost int64
	var primaries []string
	for _, p := range finished(b, e.Name, v.Name) {
		if p.Event == nil {
			continue
		}
		events = append(events, p)
		lost += p.Event.Lost
		if n := p.Event.NewPrimary; n != "" && !strings.Contains(", "+strings.Join(primaries, ", ")+", ", ", "+n+", ") {
			primaries = append(primaries, n)
		}
	}
	if len(events) == 0 {
		return nil
	}
	of := func(f func(*appliance.BenchOutage) float64) string {
		return spreadCell(spreadBy(events, func(p appliance.BenchPoint) (float64, bool) { return f(p.Event), true }))
	}
	return []string{
		v.Name, string(events[0].Event.Event), number(float64(len(events))),
		asked(v.Load.ReadPercent < 100, of(func(o *appliance.BenchOutage) float64 { return o.WritesMillis })),
		asked(v.Load.ReadPercent > 0, of(func(o *appliance.BenchOutage) float64 { return o.ReadsMillis })),
		of(func(o *appliance.BenchOutage) float64 { return float64(o.Errors) }),
		number(float64(lost)), dash(strings.Join(primaries, ", ")),
	}
}

// asked leaves out the figure of a kind of request that the load did not have.
func asked(has bool, figure string) string {
	if !has {
		return dash("")
	}
	return figure
}

// spreadCell is a spread in a cell of a table.
func spreadCell(s spread) string {
	switch {
	case s.Rounds == 0:
		return "–"
	case s.Rounds == 1 || s.Min == s.Max:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", number(s.Median), number(s.Min), number(s.Max))
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
