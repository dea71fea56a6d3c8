package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// sample is what one change took, by name.
type sample map[string]time.Duration

// table prints a line for each kind of change.
type table struct {
	out   io.Writer
	floor time.Duration
}

func columns() []string {
	return []string{"looking", "stopping", "replaying", "fencing", "electing", "promoting", "follow", "command", "kill to commit"}
}

func newTable(out io.Writer) *table {
	t := &table{out: out}
	t.print("%-20s %4s %8s %8s %6s | medians: %s\n", "ms", "runs", "median", "worst", "ratio", strings.Join(columns(), ", "))
	return t
}

func (t *table) print(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }

// line prints the line of one kind. The first line is the floor, to which the others
// are compared.
func (t *table) line(what string, all []sample) {
	median, worst := of(all, "outage")
	if t.floor == 0 {
		t.floor = median
	}
	t.print("%-20s %4d %8.0f %8.0f %6.1f |", what, len(all), ms(median), ms(worst), float64(median)/float64(t.floor))
	for _, name := range columns() {
		if m, w := of(all, name); w > 0 {
			t.print(" %s %.0f", name, ms(m))
		}
	}
	t.print("\n")
}

// of returns the median and the worst of the samples' named part.
func of(all []sample, name string) (median, worst time.Duration) {
	var parts []time.Duration
	for _, s := range all {
		parts = append(parts, s[name])
	}
	slices.Sort(parts)
	return parts[len(parts)/2], parts[len(parts)-1]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
