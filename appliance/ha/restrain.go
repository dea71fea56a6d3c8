package ha

import (
	"fmt"
	"maps"
	"time"
)

// restrainAll lets at most one act begin: each is an operation, and a cluster has one at
// a time. An act that has to wait doesn't hold up those after it.
func (d decision) restrainAll(acts []Act) {
	begun := ""
	for i := range acts {
		if begun != "" && acts[i].Withheld == "" {
			acts[i].Withheld = "after " + begun
			continue
		}
		if d.restrain(&acts[i]); acts[i].Withheld == "" {
			begun = string(acts[i].Deed) + " of " + acts[i].Member
		}
	}
}

// restrain notes why the act is not done now, and counts the act if it is.
func (d decision) restrain(a *Act) {
	this := try{a.Member, a.Deed}
	tried := d.memory.attempts[this]
	switch {
	case a.Withheld != "":
		return
	case a.Deed == Replace && d.s.HeldReplace != "":
		a.Withheld = d.s.HeldReplace
		return
	case a.Fence && d.s.HeldFence != "":
		a.Withheld = d.s.HeldFence
		return
	case a.Deed != Replace && !a.Fence && d.s.Held != "":
		a.Withheld = d.s.Held
		return
	case a.Deed == Replace && d.s.Failovers >= hourly:
		a.Withheld = fmt.Sprintf("%d failovers in the last hour: a person has to look; pgapp failover does it, and after pgapp resume pgapp does", d.s.Failovers)
		return
	case a.Deed == Replace && d.s.Failovers > 0 && d.s.Quorum && d.s.Known.Promise.None():
		a.Withheld = "nothing is promised since the last failover"
		return
	case a.Deed == Replace && d.s.Failovers > 0 && !d.s.Quorum && d.s.Since < restPause:
		a.Withheld = fmt.Sprintf("the last failover is less than %.0f s ago", restPause.Seconds())
		return
	case d.now < tried.next:
		a.Withheld = fmt.Sprintf("tried %d times; next in %.0f s", tried.count, (tried.next - d.now).Seconds())
		if tried.why != "" {
			a.Withheld += "; the last one did not begin: " + tried.why
		}
		return
	}
	d.memory.attempts[this] = attempts{count: tried.count + 1, at: d.now, next: d.now + pause(this.deed, tried.count), begun: true}
}

// NotBegun returns the memory after an act that could not begin, as while the record can't
// be written, for the reason in its Withheld. It has done nothing, so the next one may follow
// soon.
func (m Memory) NotBegun(a Act, now time.Duration) Memory {
	this := try{a.Member, a.Deed}
	out := m
	out.attempts = maps.Clone(m.attempts)
	if tried, ok := out.attempts[this]; ok {
		tried.next, tried.begun, tried.why = min(tried.next, now+longestSettlePause), false, a.Withheld
		out.attempts[this] = tried
	}
	return out
}

// pause is the time after an attempt before the next one.
func pause(deed Deed, earlier int) time.Duration {
	longest := longestPause
	if deed == Settle || deed == Degrade {
		longest = longestSettlePause
	}
	return min(time.Second<<min(earlier, 6), longest)
}

// prolong has the pauses begin when the operation of the attempt ends, however long it
// took.
func (d decision) prolong() {
	for this, tried := range d.memory.attempts {
		if tried.begun = tried.begun && d.s.Held != ""; tried.begun {
			rest := pause(this.deed, tried.count-1)
			if this.deed == Return && tried.count > 1 {
				rest = max(rest, min(d.now-tried.at, longestReturnPause))
			}
			tried.next = d.now + rest
		}
		d.memory.attempts[this] = tried
	}
}

// forget forgets the attempts on members that are well for a while, and those to replace a
// primary that is none any more: they have succeeded.
func (d decision) forget() {
	for this, tried := range d.memory.attempts {
		if this.deed == Replace && this.member != d.s.Known.Primary {
			delete(d.memory.attempts, this)
			continue
		}
		ill := false
		for k := range d.memory.doubts {
			ill = ill || k.member == this.member
		}
		switch {
		case ill:
			tried.well = 0
		case tried.well == 0:
			tried.well = d.now
		case d.now-tried.well > healthy:
			delete(d.memory.attempts, this)
			continue
		}
		d.memory.attempts[this] = tried
	}
}
