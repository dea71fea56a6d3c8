package control

import (
	"fmt"

	"pgapp/appliance"
)

// goOn returns the operation for a request on a cluster that an ended operation has
// left with a change of primary that can only go forward: nobody is the primary until
// the change is done. A start, also the daemon's own, and an up that changes nothing go
// on with it, as a failover does; what brings back the members is part of it. Requests
// that need a primary are refused.
func goOn(c appliance.Cluster, o appliance.Operation) (appliance.Operation, error) {
	left := unfinished(c)
	if left == nil {
		return o, nil
	}
	switch o.Kind {
	case appliance.OpFailover, appliance.OpSwitchover, appliance.OpStop, appliance.OpDestroy, appliance.OpAdopt:
		return o, nil // decided by what they are
	case appliance.OpStart, appliance.OpUp:
		if o.Params.Member != "" || o.Params.Change != nil {
			break
		}
		o.Note = fmt.Sprintf("goes on with the change of primary that operation %s has left in phase %s", left.Operation, left.Phase)
		o.Kind, o.Params = appliance.OpFailover, appliance.OperationParams{WantRunning: c.AnyWantStopped()}
		return o, nil
	case appliance.OpRestart, appliance.OpReinit, appliance.OpScale, appliance.OpRejoin:
	}
	return o, appliance.NewProblem(appliance.ErrConflict, "a change of primary of cluster %q has begun and is not finished", c.Name).
		WithHint("pgapp failover --cluster %s goes on with it", c.Name)
}
