package ha

import (
	"fmt"
	"strings"

	"pgapp/appliance"
)

// verdict says what is wrong with the primary and since when, if it is certain.
func (d decision) verdict(p Sighting) (evidence string, how symptom) {
	for _, how := range []symptom{gone, closed, halted, silent, hung, stuck, bare} {
		x := d.doubt(p.Member, how)
		if x.looks == 0 {
			continue
		}
		seen := fmt.Sprintf("seen by %d looks in %.1f s", x.looks, (d.now - x.since).Seconds())
		switch how {
		case gone:
			if x.lasted(d.now, 0, certain) {
				return fmt.Sprintf("%s died: %s, and a new connection %s; %s", p.Member, detail(p.Sign, "its server process is gone"), p.Fresh, seen), how
			}
		case closed:
			if x.lasted(d.now, d.pace.Left, certain) {
				return fmt.Sprintf("%s was shut down, and not by pgapp; %s", p.Member, seen), how
			}
		case halted:
			if x.lasted(d.now, d.pace.Silent, patient) {
				return fmt.Sprintf("%s is halted: %s, and it is silent; %s", p.Member, detail(p.Sign, "it gets no processor"), seen), how
			}
		case silent:
			if listeners := d.deafTo(); x.lasted(d.now, d.pace.Silent, patient) && len(listeners) > 0 {
				return fmt.Sprintf("%s is silent: sessions and new connections fail, and %s hear nothing from it; %s", p.Member, strings.Join(listeners, ", "), seen), how
			}
		case hung:
			if x.lasted(d.now, d.pace.Hung, patient) && d.othersAnswer() {
				return fmt.Sprintf("%s hangs: it takes no new connections, and the others do; %s", p.Member, seen), how
			}
		case stuck:
			if x.lasted(d.now, d.pace.Hung, patient) {
				return d.stuckEvidence(p, seen), how
			}
		case bare:
			if x.lasted(d.now, d.pace.Silent, patient) {
				return fmt.Sprintf("%s has lost its files: %s is missing, and the server lets nobody in; %s", p.Member, p.Missing, seen), how
			}
		case stray, marked, apart, lost, unsettled, alone:
		}
	}
	return "", ""
}

func (d decision) stuckEvidence(p Sighting, seen string) string {
	out := fmt.Sprintf("%s hangs: no write gets to its disk, and a write of pgapp's own waits (%s)", p.Member, p.Waits)
	if others := d.othersWrite(); others != "" {
		out += "; " + others + " writes to its disk"
	}
	return out + "; " + seen
}

// othersWrite names a member whose disk has just taken a write, none if none has.
func (d decision) othersWrite() string {
	for _, o := range d.s.Members {
		if o.Member != d.s.Known.Primary && o.Write == Answers {
			return o.Member
		}
	}
	return ""
}

func detail(s appliance.Sign, other string) string {
	if s.Detail != "" {
		return s.Detail
	}
	return other
}
