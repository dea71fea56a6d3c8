package ha

import (
	"fmt"
	"time"
)

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
	case a.Deed != Replace && d.s.Held != "":
		a.Withheld = d.s.Held
		return
	case a.Deed == Replace && d.s.Failovers >= hourly:
		a.Withheld = fmt.Sprintf("%d failovers in the last hour: a person has to look; pgapp failover does it", d.s.Failovers)
		return
	case a.Deed == Replace && d.s.Failovers > 0 && d.s.Quorum && d.s.Known.Promise.None():
		a.Withheld = "nothing is promised since the last failover"
		return
	case a.Deed == Replace && d.s.Failovers > 0 && !d.s.Quorum && d.s.Since < restPause:
		a.Withheld = fmt.Sprintf("the last failover is less than %.0f s ago", restPause.Seconds())
		return
	case d.now < tried.next:
		a.Withheld = fmt.Sprintf("tried %d times; next in %.0f s", tried.count, (tried.next - d.now).Seconds())
		return
	}
	longest := longestPause
	if a.Deed == Settle {
		longest = longestSettlePause
	}
	pause := min(time.Second<<min(tried.count, 6), longest)
	d.memory.attempts[this] = attempts{count: tried.count + 1, next: d.now + pause}
}

// forget forgets the attempts on members that are well for a while.
func (d decision) forget() {
	for this, tried := range d.memory.attempts {
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
