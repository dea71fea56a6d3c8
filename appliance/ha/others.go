package ha

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pgapp/appliance"
)

// others returns what is to be done about the standbys of a primary that serves, the
// most urgent first.
func (d decision) others() []Act {
	p, ok := d.sighting(d.s.Known.Primary)
	if !ok {
		return nil
	}
	serves := p.Standing.Answered && p.Standing.Primary
	for _, o := range d.s.Members {
		if d.doubt(o.Member, stray).lasted(d.now, 0, certain) {
			act := Act{Deed: Revive, Member: o.Member, Evidence: o.Member + " takes writes beside the primary " + p.Member}
			if !serves {
				act.Evidence = o.Member + " takes writes and is not the recorded primary"
				act.Withheld = d.leaves("it ")
			}
			return []Act{act}
		}
	}
	switch dying, ill := d.ill(p.Member); {
	case dying: // the next look says what to do, maybe for all
		return nil
	case !serves || ill: // it can't take a setting or a session, but may need them to be replaced
		return d.dead()
	}
	if x := d.doubt(p.Member, unsettled); x.lasted(d.now, 0, certain) {
		settle := Act{Deed: Settle, Member: p.Member, Evidence: fmt.Sprintf("streaming: %s; promised: %s", strings.Join(p.Streams, ", "), d.s.Known.Promise)}
		return append([]Act{settle}, d.dead()...)
	}
	var acts []Act
	if x := d.doubt(p.Member, alone); x.lasted(d.now, d.pace.Left, patient) {
		acts = append(acts, Act{Deed: Degrade, Member: p.Member, Evidence: fmt.Sprintf("no standby streams for %.1f s; promised: %s", (d.now - x.since).Seconds(), d.s.Known.Promise)})
	}
	for _, o := range d.s.Members {
		if o.Member == p.Member {
			continue
		}
		if act := d.standby(o, p); act.Deed != "" {
			acts = append(acts, act)
		}
	}
	slices.SortStableFunc(acts, func(a, b Act) int { return cmp.Compare(rank(a), rank(b)) })
	return acts
}

// rank orders acts: the start of a standby takes a moment, a way back may take hours.
func rank(a Act) int {
	switch {
	case a.Deed == Degrade:
		return 0
	case a.Only:
		return 1
	}
	return 2
}

// ill tells whether the last look has found something wrong with the primary, and whether
// that is its end.
func (d decision) ill(primary string) (dying, ill bool) {
	has := func(s symptom) bool { return d.doubt(primary, s).looks > 0 }
	dying = has(gone) || has(closed)
	return dying, dying || has(halted) || has(silent) || has(hung) || has(stuck) || has(bare)
}

// dead returns the starts of the standbys that have ended, which wait for nobody else.
func (d decision) dead() (acts []Act) {
	for _, o := range d.s.Members {
		if ended := d.ended(o); ended != "" && o.Member != d.s.Known.Primary && o.Standing.Return == "" {
			acts = append(acts, Act{Deed: Revive, Member: o.Member, Only: true, Evidence: ended})
		}
	}
	return acts
}

// ended says that a standby's server has ended, nothing if that is not certain.
func (d decision) ended(o Sighting) string {
	switch {
	case d.doubt(o.Member, gone).lasted(d.now, 0, certain):
		return o.Member + " died: " + detail(o.Sign, "its server process is gone")
	case d.doubt(o.Member, closed).lasted(d.now, d.pace.Left, certain):
		return o.Member + " was shut down, and not by pgapp"
	}
	return ""
}

// standby returns what is to be done about a standby of the primary p, which serves.
func (d decision) standby(o, p Sighting) Act {
	seen := func(s symptom) bool { return d.doubt(o.Member, s).lasted(d.now, 0, certain) }
	switch {
	case seen(marked):
		return Act{Deed: Return, Member: o.Member, Evidence: o.Member + " has to be brought back as a standby"}
	case seen(lost):
		return Act{
			Deed: Return, Member: o.Member, Mark: appliance.WayClone,
			Evidence: "the primary no longer has WAL that " + o.Member + " needs: its slot is lost",
		}
	case d.ended(o) != "":
		return Act{Deed: Revive, Member: o.Member, Only: true, Evidence: d.ended(o)}
	case d.doubt(o.Member, apart).lasted(d.now, d.pace.Hung, patient):
		return d.rejoins(o, p)
	}
	return Act{}
}

// rejoins returns what is to be done about a standby that receives nothing: it is
// pointed to the primary, and brought back if that has not helped. It may have the only copy
// of WAL that the primary has lost, as with a disk that was put back: that is a person's.
func (d decision) rejoins(o, p Sighting) Act {
	act := Act{Deed: Revive, Member: o.Member, Evidence: o.Member + " receives nothing from the primary"}
	switch tried := d.memory.attempts[try{o.Member, Revive}].count; {
	case p.Standing.Received > 0 && o.Standing.Position() > p.Standing.Received:
		act.Evidence += fmt.Sprintf(", and has WAL up to %s beyond the primary's %s", o.Standing.Position(), p.Standing.Received)
		act.Withheld = "the primary has lost WAL that only " + o.Member + " may have: a person has to look; pgapp rejoin " + o.Member + " drops it"
	case tried > 0:
		act.Evidence += fmt.Sprintf(", also after %d starts", tried)
	default:
		return act
	}
	act.Deed, act.Mark = Return, appliance.WayLook
	return act
}

// deafTo returns the standbys that answer if all of them have heard nothing from the
// primary for as long as it has to be silent, else none. One that gives no answer now counts
// by its last one.
func (d decision) deafTo() []string {
	var out []string
	for _, o := range d.s.Members {
		if o.Member == d.s.Known.Primary {
			continue
		}
		heard, ok := d.memory.heard[o.Member]
		if o.Standing.Answered && o.Quiet < d.pace.Unheard || !o.Standing.Answered && ok && d.now-d.s.Took-heard < d.pace.Unheard {
			return nil
		}
		if o.Standing.Answered {
			out = append(out, o.Member)
		}
	}
	return out
}

// inForce tells whether the promise on record is the primary's setting. It is not where a
// settling was ended between the two, as by a link that was cut.
func (d decision) inForce(primary Sighting) bool {
	return primary.InForce.None() || primary.InForce.Equal(d.s.Known.Promise)
}

// othersAnswer tells whether another member takes new connections.
func (d decision) othersAnswer() bool {
	return slices.ContainsFunc(d.s.Members, func(o Sighting) bool { return o.Member != d.s.Known.Primary && o.Fresh == Answers })
}
