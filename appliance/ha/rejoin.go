package ha

import (
	"math"
	"slices"

	"pgapp/appliance"
)

// WayOf tells how a member comes back as a standby. Its position has to be final. An
// empty way means that the member belongs to another cluster.
func WayOf(k Known, s Standing) appliance.WayBack {
	if s.Identifier != k.Identifier {
		return ""
	}
	if !k.Line.DescendsFrom(s.Line) {
		for _, number := range numbers(k.Line) {
			if number == s.Line.Timeline {
				return appliance.WayClone
			}
		}
		return appliance.WayRewind
	}
	if n := len(s.Line.Ancestors); n < len(k.Line.Ancestors) && s.Position() > k.Line.Ancestors[n].At {
		return appliance.WayRewind
	}
	return appliance.WayFollow
}

// numbers are those of the timeline and its ancestors.
func numbers(l appliance.Line) []uint32 {
	out := []uint32{l.Timeline}
	for _, a := range l.Ancestors {
		out = append(out, a.Timeline)
	}
	return out
}

// Foreign tells whether a member that streamed last in the epoch can't have got the
// timeline from the recorded primaries: the promotion on record that began a timeline
// of that number is later. Another promotion, of which nothing came to the others, took
// the number too.
func Foreign(promotions []appliance.Promotion, epoch uint64, timeline uint32) bool {
	var began uint64
	for _, p := range promotions {
		// An adoption begins an epoch, but no timeline.
		if p.Timeline == timeline && (began == 0 || p.Reason != appliance.ReasonAdopted) {
			began = p.Epoch
		}
	}
	return timeline > 1 && epoch < began
}

// Forked returns the end of the WAL that both lines share, as far as their numbers
// tell. A foreign line shares its last timeline's number only.
func Forked(k, s appliance.Line, foreign bool) appliance.LSN {
	ends := func(l appliance.Line) []appliance.Switch {
		return append(slices.Clone(l.Ancestors), appliance.Switch{Timeline: l.Timeline, At: math.MaxUint64})
	}
	a, b := ends(k), ends(s)
	if foreign {
		b = b[:len(b)-1]
	}
	var shared appliance.LSN
	for i := range min(len(a), len(b)) {
		if a[i].Timeline != b[i].Timeline {
			return shared
		}
		shared = min(a[i].At, b[i].At)
		if a[i].At != b[i].At {
			return shared
		}
	}
	return shared
}
