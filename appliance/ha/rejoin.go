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

// Foreign returns the first timeline of the line that a member which streamed last in the
// epoch can't have got from the recorded primaries, 0 if there is none: the promotion on
// record that began a timeline of that number is later. Another promotion, of which
// nothing came to the others, took the number too.
func Foreign(promotions []appliance.Promotion, epoch uint64, line appliance.Line) uint32 {
	for _, a := range append(slices.Clone(line.Ancestors), appliance.Switch{Timeline: line.Timeline}) {
		if a.Timeline > 1 && epoch < beganIn(promotions, a.Timeline) {
			return a.Timeline
		}
	}
	return 0
}

// Alien tells whether a standby on record, whose last server took writes on the timeline,
// did so on the timeline of another primary: the recorded one, or the one whose promotion
// began it. A person has started it without standby.signal. Neither streaming nor pg_rewind
// would notice where its WAL left the other's, since the number is the same.
func Alien(recorded uint32, promotions []appliance.Promotion, member string, timeline uint32) bool {
	if timeline == recorded {
		return true
	}
	by := ""
	for _, p := range promotions {
		if p.Timeline == timeline && p.Reason != appliance.ReasonAdopted {
			by = p.Member
		}
	}
	return by != "" && by != member
}

// beganIn is the epoch of the last promotion on record that began a timeline of the
// number, 0 if none did.
func beganIn(promotions []appliance.Promotion, timeline uint32) uint64 {
	var began uint64
	for _, p := range promotions {
		// An adoption begins an epoch, but no timeline.
		if p.Timeline == timeline && (began == 0 || p.Reason != appliance.ReasonAdopted) {
			began = p.Epoch
		}
	}
	return began
}

// Forked returns the end of the WAL that both lines share, as far as their numbers
// tell. The member's line s is foreign from the timeline of the number foreign on, if
// that isn't 0.
func Forked(k, s appliance.Line, foreign uint32) appliance.LSN {
	ends := func(l appliance.Line) []appliance.Switch {
		return append(slices.Clone(l.Ancestors), appliance.Switch{Timeline: l.Timeline, At: math.MaxUint64})
	}
	a, b := ends(k), ends(s)
	if i := slices.IndexFunc(b, func(e appliance.Switch) bool { return e.Timeline == foreign }); i >= 0 {
		b = b[:i]
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
