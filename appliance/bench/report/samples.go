package report

import (
	"encoding/csv"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// sampleHead is the header of samples.csv. New columns go to the end.
func sampleHead() []string {
	return []string{
		"experiment", "variant", "round", "partial", "driver_late", "row", "second", "kind",
		"reads", "writes", "errors", "count", "mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "lag_bytes",
	}
}

// writeSamples writes a row for each second of each point (row "second"), for each
// standby's lag in a second ("lag", whose kind is the standby), and for each kind of
// request of a point ("kind"). Cells that a row has no figure for are empty.
func writeSamples(to io.Writer, b appliance.Bench) error {
	w := csv.NewWriter(to)
	if err := w.Write(sampleHead()); err != nil {
		return err
	}
	for _, p := range b.Points {
		if err := w.WriteAll(pointRows(p)); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func pointRows(p appliance.BenchPoint) [][]string {
	head := []string{label(p.Experiment), label(p.Variant), strconv.Itoa(p.Round), strconv.FormatBool(p.Partial), strconv.FormatBool(p.Result.Driver.Late)}
	var rows [][]string
	row := func(cells ...string) { rows = append(rows, slices.Concat(head, cells)) }
	for _, s := range p.Result.Series {
		at := strconv.Itoa(s.At)
		row("second", at, "", whole(s.Reads), whole(s.Writes), whole(s.Errors), "", "", "", "", "", decimal(s.P99), "", "", "")
		for _, name := range slices.Sorted(maps.Keys(s.LagBytes)) {
			row("lag", at, label(name), "", "", "", "", "", "", "", "", "", "", "", whole(s.LagBytes[name]))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(p.Result.Kinds)) {
		l := p.Result.Kinds[kind]
		row("kind", "", label(kind), "", "", "", whole(l.Count), decimal(l.Mean), decimal(l.P50), decimal(l.P90), decimal(l.P95), decimal(l.P99), decimal(l.P999), decimal(l.Max), "")
	}
	return rows
}

// label is a text of the record in a cell. A spreadsheet would take one that begins like a
// formula for a formula, and the record may come from a stranger.
func label(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
