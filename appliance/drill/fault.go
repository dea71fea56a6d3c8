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
	// FaultRandom stands for one of the others, or two of them, chosen by a seed.
	FaultRandom Fault = "random"
)

// Faults are all of them; of those of virtual machines and those of local members only
// one sort.
func Faults(machines bool) []Fault {
	all := []Fault{FaultKill, FaultKillMember, FaultFreeze, FaultHalt, FaultCut, FaultSwitchover, FaultDaemon, FaultRandom}
	if machines {
		all[4] = FaultPowerOff
	}
	return all
}

// OfMember tells whether the fault strikes one member.
func (f Fault) OfMember() bool {
	return f != FaultSwitchover && f != FaultDaemon && f != FaultRandom
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

// paired are the faults of a round with two blows.
func paired(machines bool) [][2]Blow {
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
	if !machines {
		all = append(all, [2]Blow{{Fault: FaultCut}, {Fault: FaultDaemon}})
	} else {
		all = append(all, [2]Blow{{Fault: FaultPowerOff}, {Fault: FaultDaemon}}, [2]Blow{{Fault: FaultPowerOff, Standby: 1}, {Fault: FaultKill}})
	}
	return all
}

// betweenBlows bounds the pause between two blows of a round: the second one is to strike
// while the first one is being healed.
const betweenBlows = 600 * time.Millisecond

// blows are those of a round. The same seed and round give the same blows.
func (f Fault) blows(seed uint64, round, standbys int, machines bool) []Blow {
	if f != FaultRandom {
		return []Blow{{Fault: f}}
	}
	r := rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // a round is to be repeated
	single := Faults(machines)
	single = single[:len(single)-1]
	pairs := paired(machines)
	// Every third round has two blows; one round in eight a standby's alone.
	switch n := r.IntN(24); {
	case n < 8:
		pair := pairs[r.IntN(len(pairs))]
		out := pair[:]
		for i := range out {
			if out[i].Standby > 0 {
				out[i].Standby = 1 + r.IntN(standbys)
			}
		}
		out[1].After = time.Duration(r.Int64N(int64(betweenBlows)))
		return out
	case n < 11:
		return []Blow{{Fault: []Fault{FaultKill, FaultKillMember}[r.IntN(2)], Standby: 1 + r.IntN(standbys)}}
	}
	return []Blow{{Fault: single[r.IntN(len(single))]}}
}
