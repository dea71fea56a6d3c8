package drill

import (
	"math/rand/v2"
	"time"
)

// Fault is what strikes a cluster.
type Fault string

// The faults. Those of a member strike the primary, unless a blow says otherwise.
const (
	// FaultKill kills the server's first process.
	FaultKill Fault = "kill"
	// FaultKillMember kills all of the server's processes at once.
	FaultKillMember Fault = "kill-member"
	// FaultFreeze stops all of the member's processes, or its virtual machine.
	FaultFreeze Fault = "freeze"
	// FaultHalt stops the server's first process: sessions go on, new ones get no answer.
	FaultHalt Fault = "halt"
	// FaultCut cuts the server from everybody, until it has been ended.
	FaultCut Fault = "cut"
	// FaultPowerOff ends the member's virtual machine.
	FaultPowerOff Fault = "power-off"
	// FaultSwitchover moves the primary by command.
	FaultSwitchover Fault = "switchover"
	// FaultDaemon kills pgapp's daemon, which is started again as any command does.
	FaultDaemon Fault = "daemon"
	// FaultEndpoint kills the process behind the endpoints, which the daemon starts again.
	FaultEndpoint Fault = "endpoint"
	// FaultRandom stands for one of the others, or two of them, chosen by a seed.
	FaultRandom Fault = "random"
)

// Faults are all of them.
func Faults() []Fault {
	return []Fault{FaultKill, FaultKillMember, FaultFreeze, FaultHalt, FaultCut, FaultPowerOff, FaultSwitchover, FaultDaemon, FaultEndpoint, FaultRandom}
}

// ground is what there is to strike.
type ground struct {
	standbys int
	// machines is set where members are virtual machines.
	machines bool
	// endpoint is set where the writers go through the endpoints: for others a fault of
	// their process is none.
	endpoint bool
}

// singles are the faults of a round with one blow.
func (g ground) singles() []Fault {
	all := []Fault{FaultKill, FaultKillMember, FaultFreeze, FaultHalt, FaultCut, FaultSwitchover, FaultDaemon}
	if g.machines {
		all[4] = FaultPowerOff
	}
	if g.endpoint {
		all = append(all, FaultEndpoint)
	}
	return all
}

// OfMember tells whether the fault strikes one member.
func (f Fault) OfMember() bool {
	return f != FaultSwitchover && f != FaultDaemon && f != FaultEndpoint && f != FaultRandom
}

// Blow is one fault of a round.
type Blow struct {
	Fault Fault
	// Standby is set where the fault strikes a standby: of those the one of this number,
	// counted from 1.
	Standby int
	// After is the pause before the blow.
	After time.Duration
}

// pairs are the faults of a round with two blows.
func (g ground) pairs() [][2]Blow {
	all := [][2]Blow{
		{{Fault: FaultKill}, {Fault: FaultDaemon}},
		{{Fault: FaultFreeze}, {Fault: FaultDaemon}},
		{{Fault: FaultSwitchover}, {Fault: FaultDaemon}},
		{{Fault: FaultSwitchover}, {Fault: FaultKill}},
		{{Fault: FaultSwitchover}, {Fault: FaultKillMember, Standby: 1}},
		{{Fault: FaultDaemon}, {Fault: FaultKillMember}},
		{{Fault: FaultKillMember, Standby: 1}, {Fault: FaultKill}},
		{{Fault: FaultHalt}, {Fault: FaultKill, Standby: 1}},
	}
	if !g.machines {
		all = append(all, [2]Blow{{Fault: FaultCut}, {Fault: FaultDaemon}})
	} else {
		all = append(all, [2]Blow{{Fault: FaultPowerOff}, {Fault: FaultDaemon}}, [2]Blow{{Fault: FaultPowerOff, Standby: 1}, {Fault: FaultKill}})
	}
	if g.endpoint {
		all = append(all,
			[2]Blow{{Fault: FaultKill}, {Fault: FaultEndpoint}},
			[2]Blow{{Fault: FaultSwitchover}, {Fault: FaultEndpoint}},
			[2]Blow{{Fault: FaultEndpoint}, {Fault: FaultDaemon}},
			[2]Blow{{Fault: FaultEndpoint}, {Fault: FaultKillMember}})
	}
	return all
}

// betweenBlows bounds the pause between two blows of a round: the second one is to strike
// while the first one is being healed.
const betweenBlows = 600 * time.Millisecond

// blows are those of a round. The same seed and round give the same blows.
func (f Fault) blows(seed uint64, round int, g ground) []Blow {
	if f != FaultRandom {
		return []Blow{{Fault: f}}
	}
	r := rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // a round is to be repeated
	single, pairs := g.singles(), g.pairs()
	// Every third round has two blows; one round in eight a standby's alone.
	switch n := r.IntN(24); {
	case n < 8:
		pair := pairs[r.IntN(len(pairs))]
		out := pair[:]
		for i := range out {
			if out[i].Standby > 0 {
				out[i].Standby = 1 + r.IntN(g.standbys)
			}
		}
		out[1].After = time.Duration(r.Int64N(int64(betweenBlows)))
		return out
	case n < 11:
		return []Blow{{Fault: []Fault{FaultKill, FaultKillMember}[r.IntN(2)], Standby: 1 + r.IntN(g.standbys)}}
	}
	return []Blow{{Fault: single[r.IntN(len(single))]}}
}
