package ha

import (
	"cmp"
	"fmt"
	"time"

	"pgapp/appliance"
)

// startPatience is how long a standby that is being started may become a candidate
// before its primary is started again in place.
const startPatience = 10 * time.Second

// Holds are the reasons for doing nothing, as in [Situation]. They are empty where something
// may be done.
type Holds struct{ All, Replace, Fence, Moves string }

func holdsAll(why string) Holds { return Holds{All: why, Replace: why, Fence: why} }

// With returns the holds of both: what held when a look began explains what it saw, though
// it has ended since.
func (h Holds) With(o Holds) Holds {
	return Holds{All: cmp.Or(h.All, o.All), Replace: cmp.Or(h.Replace, o.Replace), Fence: cmp.Or(h.Fence, o.Fence), Moves: cmp.Or(h.Moves, o.Moves)}
}

// Hold is what may keep pgapp from acting, besides the cluster's record.
type Hold struct {
	// Observing says why nothing may be changed, empty if something may.
	Observing string
	// Running is the operation that runs, nil if none does. Unknown says why that is not
	// known. Own is set where pgapp has begun the operation by itself.
	Running *appliance.Operation
	Unknown string
	Own     bool
}

// HeldBy returns why nothing may be done now, and what the cluster's automatic state is.
func HeldBy(c appliance.Cluster, h Hold, now time.Time) (Holds, appliance.Automatic) {
	switch {
	case h.Observing != "":
		return holdsAll(h.Observing), appliance.AutomaticObserving
	case c.Pause.Holds(now):
		why := "a user has paused it"
		if until := c.Pause.Until; until != nil {
			why += " until " + until.Format(time.RFC3339)
		}
		return holdsAll(why), appliance.AutomaticPaused
	case h.Unknown != "":
		return holdsAll(h.Unknown), appliance.AutomaticOn
	case h.Running == nil:
		return Holds{}, appliance.AutomaticOn
	}
	return holdsBeside(c, *h.Running, h.Own, now), appliance.AutomaticOn
}

// holdsBeside are the reasons beside an operation that runs.
func holdsBeside(c appliance.Cluster, o appliance.Operation, own bool, now time.Time) Holds {
	h := holdsAll(fmt.Sprintf("operation %s (%s) runs", o.ID, o.Kind))
	starts := own && o.Kind == appliance.OpStart
	if starts || waitsForPrimary(c, o) {
		h.Replace = ""
	}
	// A start in place would end a user's start or restart of a standby, which a failover
	// does for a new primary only. It also waits a while for the own start of a standby
	// that may be promoted then.
	waits := o.Params.Fence || o.Params.Member != "" && now.Sub(o.CreatedAt) < startPatience
	if starts && !waits || o.Kind == appliance.OpRejoin || o.Kind == appliance.OpReinit {
		h.Fence = ""
	}
	ch := c.Change
	if o.Kind == appliance.OpFailover || o.Kind == appliance.OpSwitchover || ch != nil && ch.Operation == o.ID {
		h.Moves = h.All
	}
	return h
}

// waitsForPrimary tells whether the operation works on a standby alone. It never keeps
// the primary down, and waits for one that has died meanwhile, so a failover supersedes
// it.
func waitsForPrimary(c appliance.Cluster, o appliance.Operation) bool {
	switch o.Kind {
	case appliance.OpRejoin, appliance.OpReinit:
		return true
	case appliance.OpStart, appliance.OpRestart:
		return o.Params.Member != "" && o.Params.Member != c.Primary
	}
	return false
}

// Failovers returns how many changes of primary pgapp has made by itself in the hour
// before now and since a user last resumed the cluster, and how long ago the last one
// was.
func Failovers(c appliance.Cluster, now time.Time) (n int, since time.Duration) {
	for _, p := range c.Promotions {
		if c.Resumed != nil && !p.At.After(*c.Resumed) {
			continue
		}
		if age := now.Sub(p.At); p.Reason == string(appliance.OpFailover) && p.Evidence != "" && age >= 0 && age < time.Hour {
			n, since = n+1, age
		}
	}
	return n, since
}
