package control

import (
	"pgapp/appliance"
)

// Act is what passes admission: an operation by its kind, except that the daemon's
// own start is told from a user's, or other work that no operation may run beside.
type Act string

// The acts that are no kinds of operation.
const (
	// actRevive is the start by which the daemon brings back what should run, as
	// after a reboot.
	actRevive Act = "revive"
	// ActPrune removes the images that no machine uses.
	ActPrune Act = "prune"
	// ActRestore puts another state in place of pgapp's own.
	ActRestore Act = "restore"
	// ActCompact writes pgapp's own state anew.
	ActCompact Act = "compact"
)

func actOf(o appliance.Operation) Act {
	if o.Kind == appliance.OpStart && o.Params.KeepStopped {
		return actRevive
	}
	return Act(o.Kind)
}

// actCount is how many acts there are: a row of [rulings] has as many columns.
const actCount = 12

// acts are all of them, in the order of the columns of [rulings].
func acts() [actCount]Act {
	return [actCount]Act{
		Act(appliance.OpUp), Act(appliance.OpStart), Act(appliance.OpStop), Act(appliance.OpRestart),
		Act(appliance.OpReinit), Act(appliance.OpScale), Act(appliance.OpDestroy), Act(appliance.OpAdopt),
		actRevive, ActPrune, ActRestore, ActCompact,
	}
}

// ruling is how a request fares beside what runs.
type ruling int

// The rulings; none is the zero value, so that a gap in the table shows.
const (
	refused ruling = iota + 1
	// joins: the same request is answered with the running operation; another
	// one is refused.
	joins
	// supersedes: the running operation ends and gives way.
	supersedes
	// waits: the request is decided when what runs has ended.
	waits
)

// rulings is the table of admission: rulings()[request][running]. A user's
// wish goes before what the daemon does by itself, and a removal before all. An
// adoption decides by what runs, so nothing that changes it runs beside. What
// the daemon brings back is nobody's request to repeat, so it waits.
func rulings() map[Act]map[Act]ruling {
	const r, j, s, w = refused, joins, supersedes, waits
	rows := map[Act][actCount]ruling{
		// running:              up start stop restart reinit scale destroy adopt revive prune restore compact
		Act(appliance.OpUp):      {j, r, r, r, r, r, r, r, s, r, r, r},
		Act(appliance.OpStart):   {r, j, r, r, r, r, r, r, s, r, r, r},
		Act(appliance.OpStop):    {r, r, j, r, r, r, r, r, s, r, r, r},
		Act(appliance.OpRestart): {r, r, r, j, r, r, r, r, s, r, r, r},
		Act(appliance.OpReinit):  {r, r, r, r, j, r, r, r, s, r, r, r},
		Act(appliance.OpScale):   {r, r, r, r, r, j, r, r, s, r, r, r},
		Act(appliance.OpDestroy): {s, s, s, s, s, s, j, s, s, r, r, r},
		Act(appliance.OpAdopt):   {r, r, r, r, r, r, r, j, r, r, r, r},
		actRevive:                {r, r, r, r, r, r, r, r, j, w, w, w},
		ActPrune:                 {r, r, r, r, r, r, r, r, r, r, r, r},
		ActRestore:               {r, r, r, r, r, r, r, r, r, r, r, r},
		ActCompact:               {r, r, r, r, r, r, r, r, r, r, r, r},
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

// admittedObserving tells whether the act is admitted while a cluster waits to be
// adopted.
func (a Act) admittedObserving() bool { return a == Act(appliance.OpAdopt) }

// doing says what is under way, for those who are refused because of it.
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

// rule says how a request fares beside the running operation, if any: joined
// is true where that one is the answer, supersede its id where it gives way.
// A request that is refused is a problem operation-running.
func rule(request Act, running *appliance.Operation, same bool) (joined bool, supersede string, err error) {
	if running == nil {
		return false, "", nil
	}
	switch rulings()[request][actOf(*running)] {
	case supersedes:
		return false, running.ID, nil
	case joins:
		if same {
			return true, "", nil
		}
	case refused, waits:
	}
	return false, "", busy(request, *running)
}

// busy is the answer to a request that is refused because an operation runs.
func busy(request Act, running appliance.Operation) error {
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
