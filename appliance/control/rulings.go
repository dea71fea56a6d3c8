package control

import (
	"pgapp/appliance"
)

// Act is a thing that passes admission: an operation, named by its kind (the
// daemon's own start has a name of its own), or work that runs alone.
type Act string

// The acts that are not kinds of operation.
const (
	// actRevive is the daemon's own start of a cluster that should run, as after a
	// reboot.
	actRevive Act = "revive"
	// actMend is such a start that first ends what runs of a primary which is proven dead
	// and which nobody can replace.
	actMend Act = "mend"
	// ActPrune removes the images that no machine uses.
	ActPrune Act = "prune"
	// ActRestore replaces pgapp's own state by one from an archive.
	ActRestore Act = "restore"
	// ActCompact rewrites pgapp's own state without gaps.
	ActCompact Act = "compact"
)

func actOf(o appliance.Operation) Act {
	switch {
	case o.Kind == appliance.OpStart && o.Params.KeepStopped && o.Params.Fence:
		return actMend
	case o.Kind == appliance.OpStart && o.Params.KeepStopped:
		return actRevive
	}
	return Act(o.Kind)
}

// actCount is the number of acts, and of columns of [rulings].
const actCount = 16

// acts returns all acts in the order of the columns of [rulings].
func acts() [actCount]Act {
	return [actCount]Act{
		Act(appliance.OpUp), Act(appliance.OpStart), Act(appliance.OpStop), Act(appliance.OpRestart),
		Act(appliance.OpReinit), Act(appliance.OpScale), Act(appliance.OpDestroy), Act(appliance.OpAdopt),
		Act(appliance.OpSwitchover), Act(appliance.OpFailover), Act(appliance.OpRejoin), actRevive, actMend, ActPrune, ActRestore, ActCompact,
	}
}

// ruling is the answer to a request while another act runs.
type ruling int

// The rulings. The zero value is none of them, so that a gap in the table shows.
const (
	refused ruling = iota + 1
	// joins: the answer to the same request is the running operation; a different
	// request of that kind is refused.
	joins
	// supersedes: the running operation ends, and the request's begins.
	supersedes
	// overtakes: as supersedes, but a change of primary that can only go forward is
	// not ended before it is done. Until then the same request is answered with the
	// running operation, and another is refused.
	overtakes
	// waits: the request is decided after the running act has ended.
	waits
)

// rulings is the table of admission: rulings()[request][running]. A user's request
// supersedes the daemon's own start, and a removal supersedes every operation. An
// adoption supersedes none, since it records what it sees running. The daemon's own
// start waits for work that runs alone, since nobody would repeat the start.
//
// A failover is asked for when the primary is dead. A start, a restart, a switchover
// a rejoin or a reinit then waits for a primary that doesn't come, so the failover ends
// them; what they had to do for other members is done by the next start, and a member
// that a reinit has left without data is marked, and cloned later. Operations that
// change the spec or remove members are not given up half done for it: a person cancels
// them first. Another failover, as one that may lose data, overtakes one that finds
// nobody to promote. Once a candidate is on record the operation itself goes on to a
// primary, and a second one beside it could only be in its way; when that is done and
// members are brought back, the new primary may have died too.
//
// A mend follows two signals of the primary's death, as pgapp's own failover does: what
// waits for that primary ends for it, but for what a user has asked for by name.
//
// A switchover and a rejoin can wait, also for the daemon's own start, which brings
// back the members that they need.
func rulings() map[Act]map[Act]ruling {
	const r, j, s, o, w = refused, joins, supersedes, overtakes, waits
	rows := map[Act][actCount]ruling{
		// running:                 up start stop restart reinit scale destroy adopt switchover failover rejoin revive mend prune restore compact
		Act(appliance.OpUp):         {j, r, r, r, r, r, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpStart):      {r, j, r, r, r, r, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpStop):       {r, r, j, r, r, r, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpRestart):    {r, r, r, j, r, r, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpReinit):     {r, r, r, r, j, r, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpScale):      {r, r, r, r, r, j, r, r, r, r, r, s, s, r, r, r},
		Act(appliance.OpDestroy):    {s, s, s, s, s, s, j, s, s, s, s, s, s, r, r, r},
		Act(appliance.OpAdopt):      {r, r, r, r, r, r, r, j, r, r, r, r, r, r, r, r},
		Act(appliance.OpSwitchover): {r, r, r, r, r, r, r, r, j, r, r, r, r, r, r, r},
		Act(appliance.OpFailover):   {r, o, r, o, s, r, r, r, o, o, s, s, s, r, r, r},
		Act(appliance.OpRejoin):     {r, r, r, r, r, r, r, r, r, r, j, r, r, r, r, r},
		actRevive:                   {r, r, r, r, r, r, r, r, r, r, r, j, r, w, w, w},
		actMend:                     {r, r, r, r, s, r, r, r, r, r, s, s, j, w, w, w},
		ActPrune:                    {r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, r},
		ActRestore:                  {r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, r},
		ActCompact:                  {r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, r},
	}
	out := make(map[Act]map[Act]ruling, len(rows))
	for request, row := range rows {
		out[request] = make(map[Act]ruling, len(row))
		for i, running := range acts() {
			out[request][running] = row[i]
		}
	}
	return out
}

// admittedObserving tells whether the act may begin while pgapp only observes.
func (a Act) admittedObserving() bool { return a == Act(appliance.OpAdopt) }

// doing describes the running act in the answer to a refused request.
func (a Act) doing() string {
	switch a {
	case ActPrune:
		return "the images that no machine uses are being removed"
	case ActRestore:
		return "the state is being restored"
	case ActCompact:
		return "the state is being compacted"
	}
	return "pgapp does " + string(a)
}

// rule applies the table to a request and the running operation, which may be nil,
// beside the cluster's change of primary, which may be nil too. joined is true if the
// running operation is the answer; supersede is its id if the request ends it. A
// refused request is a problem operation-running.
func rule(request Act, running *appliance.Operation, change *appliance.PrimaryChange, same bool) (joined bool, supersede string, err error) {
	if running == nil {
		return false, "", nil
	}
	switch rulings()[request][actOf(*running)] {
	case supersedes:
		return false, running.ID, nil
	case overtakes:
		if change == nil || change.Operation != running.ID {
			change = &appliance.PrimaryChange{}
		}
		switch done := change.Phase == appliance.ChangeDone; {
		case same && !done:
			return true, "", nil
		case done || !change.OneWay():
			return false, running.ID, nil
		}
	case joins:
		if same {
			return true, "", nil
		}
	case refused, waits:
	}
	return false, "", busyProblem(request, *running)
}

// busyProblem names the running operation that the request is refused for.
func busyProblem(request Act, running appliance.Operation) error {
	p := appliance.NewProblem(appliance.ErrOperationRunning, "operation %s (%s) runs on cluster %q", running.ID, running.Kind, running.Cluster).
		WithHint("pgapp ops %s --follow waits for it", running.ID)
	switch request {
	case ActPrune:
		p.Message += " and may need the images"
	case ActRestore, ActCompact:
		p.Hint += ", --cancel stops it"
	}
	p.Operation = running.ID
	return p
}
