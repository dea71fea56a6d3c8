package drill

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// History is what the writers wrote.
type History struct {
	Writes []Write
	// Reads are those through the endpoint for reads.
	Reads Reads
	// Misled are sessions that the endpoint for writes led to a member that takes none.
	Misled []string
}

// Acknowledged returns the acknowledged writes, in the order in which the writers were
// told.
func (h History) Acknowledged() []Write {
	out := slices.DeleteFunc(slices.Clone(h.Writes), func(w Write) bool { return w.Outcome != Acknowledged })
	slices.SortFunc(out, func(a, b Write) int { return int(a.Told - b.Told) })
	return out
}

// Lost returns the acknowledged rows that a member with these rows lacks.
func (h History) Lost(has map[Row]bool) []Row {
	var out []Row
	for _, w := range h.Acknowledged() {
		if !has[w.Row] {
			out = append(out, w.Row)
		}
	}
	return out
}

// TwoAtOnce describes where two members acknowledged rows at the same time: on one
// timeline, or on an older timeline after a newer one had acknowledged a row. It is
// empty if at most one did at any time. A row counts from when it was sent to when the
// writer was told, since the commit lies between.
func (h History) TwoAtOnce() []string {
	var out []string
	by := map[uint32]string{}
	for _, w := range h.Acknowledged() {
		if was, ok := by[w.Timeline]; ok && was != w.Member {
			out = append(out, fmt.Sprintf("%s and %s both acknowledged rows on timeline %d", was, w.Member, w.Timeline))
		}
		by[w.Timeline] = w.Member
	}
	first := map[uint32]Write{} // the first row told on each timeline
	for _, w := range h.Acknowledged() {
		if _, ok := first[w.Timeline]; !ok {
			first[w.Timeline] = w
		}
	}
	timelines := slices.Sorted(maps.Keys(first))
	for _, w := range h.Acknowledged() {
		for _, t := range timelines {
			if newer := first[t]; t > w.Timeline && w.Sent > newer.Told {
				out = append(out, fmt.Sprintf("%s acknowledged row %v on timeline %d, sent at %s, after %s had acknowledged one on timeline %d at %s",
					w.Member, w.Row, w.Timeline, w.Sent, newer.Member, t, newer.Told))
			}
		}
	}
	return out
}

// Outage returns the longest time without an acknowledged row between from and to.
func (h History) Outage(from, to time.Duration) time.Duration {
	last, longest := from, time.Duration(0)
	for _, w := range h.Acknowledged() {
		if w.Told < from {
			continue
		}
		if w.Told > to {
			break
		}
		longest, last = max(longest, w.Told-last), w.Told
	}
	return max(longest, to-last)
}

// FirstSince returns the first row that was acknowledged on a later timeline.
func (h History) FirstSince(timeline uint32) (Write, bool) {
	for _, w := range h.Acknowledged() {
		if w.Timeline > timeline {
			return w, true
		}
	}
	return Write{}, false
}
