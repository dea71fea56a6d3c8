package ha

import "pgapp/appliance"

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
