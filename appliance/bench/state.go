package bench

import (
	"fmt"
	"slices"
	"strings"

	"pgapp/appliance"
)

// State is what of a cluster the variants of a suite differ in.
type State struct {
	Primary    string
	Durability appliance.Durability
	// Running are the members that are not stopped.
	Running []string
}

// StateOf is the state that a status shows.
func StateOf(s appliance.ClusterStatus) State {
	out := State{Primary: s.Primary, Durability: s.Durability}
	for _, m := range s.Members {
		if m.State != appliance.StateStopped {
			out.Running = append(out.Running, m.Name)
		}
	}
	return out
}

// Original is the state before a suite's first change, as far as the cluster can still have
// it: members that were removed since are left out, and new ones stay as they are.
func Original(b appliance.BenchBefore, now appliance.ClusterStatus) State {
	is := StateOf(now)
	out := State{Primary: is.Primary, Durability: b.Durability}
	for _, m := range now.Members {
		if m.Name == b.Primary {
			out.Primary = b.Primary
		}
		if slices.Contains(b.Members, m.Name) || slices.Contains(is.Running, m.Name) {
			out.Running = append(out.Running, m.Name)
		}
	}
	if len(now.Members) < 2 {
		out.Durability = is.Durability // a primary alone can't promise more
	}
	return out
}

// Changed says in what a cluster is no longer what a measurement began on; empty where
// it is the same.
func Changed(began, now appliance.ClusterStatus) string {
	was, is := StateOf(began), StateOf(now)
	switch {
	case now.UUID != began.UUID:
		return "it was made anew"
	case is.Primary != was.Primary:
		return fmt.Sprintf("the primary is %s, and was %s", is.Primary, was.Primary)
	case now.Epoch != began.Epoch:
		return fmt.Sprintf("the primary has moved and come back to %s", is.Primary)
	case is.Durability != was.Durability:
		return fmt.Sprintf("the durability is %s, and was %s", is.Durability, was.Durability)
	case OtherMembers(names(began), now) != "":
		return OtherMembers(names(began), now)
	case !slices.Equal(is.Running, was.Running):
		return fmt.Sprintf("the members that run are %s, and were %s", strings.Join(is.Running, ", "), strings.Join(was.Running, ", "))
	}
	return ""
}

// Wanted is the state for a variant: the primary is the one from before, and of the
// standbys the first ones run.
func Wanted(b appliance.BenchBefore, v appliance.BenchVariant) State {
	out := State{Primary: b.Primary, Durability: appliance.Durability(v.Durability), Running: []string{b.Primary}}
	for _, m := range b.Members {
		if m != b.Primary && len(out.Running) <= v.Standbys {
			out.Running = append(out.Running, m)
		}
	}
	return out
}

// OtherMembers says that the cluster has other members than these; empty where it has not.
func OtherMembers(were []string, now appliance.ClusterStatus) string {
	if are := names(now); !slices.Equal(are, were) {
		return fmt.Sprintf("the members are %s, and were %s", strings.Join(are, ", "), strings.Join(were, ", "))
	}
	return ""
}

func names(s appliance.ClusterStatus) []string {
	var all []string
	for _, m := range s.Members {
		all = append(all, m.Name)
	}
	return all
}

// Action is a change of a cluster's state.
type Action string

// The actions.
const (
	// Arrived is no change: the state is the wanted one.
	Arrived    Action = ""
	Start      Action = "start"
	Stop       Action = "stop"
	Switchover Action = "switchover"
	Durability Action = "durability"
)

// Change is one change of a cluster's state.
type Change struct {
	Action Action
	// Member is who is started, stopped, or becomes the primary.
	Member string
	// Durability is the new one.
	Durability appliance.Durability
}

// Next is the next change on the way to the wanted state. At no time do commits wait for
// a standby that is stopped: quorum ends before anything is stopped, and begins when all
// have been started. What pgapp starts beside a change is stopped by a later one, so the
// state has to be looked at after each.
func Next(now, want State) Change {
	if now.Durability != want.Durability && want.Durability == appliance.DurabilityAsync {
		return Change{Action: Durability, Durability: want.Durability}
	}
	for _, m := range want.Running {
		if !slices.Contains(now.Running, m) {
			return Change{Action: Start, Member: m}
		}
	}
	if now.Primary != want.Primary {
		return Change{Action: Switchover, Member: want.Primary}
	}
	if now.Durability != want.Durability {
		return Change{Action: Durability, Durability: want.Durability}
	}
	for _, m := range slices.Backward(now.Running) {
		if !slices.Contains(want.Running, m) {
			return Change{Action: Stop, Member: m}
		}
	}
	return Change{}
}

// Without is the status of the members that are not stopped, which are a whole cluster of
// their own. A primary that is stopped has died, and is not left out.
func Without(s appliance.ClusterStatus) appliance.ClusterStatus {
	all := len(s.Members)
	s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m appliance.MemberStatus) bool {
		return m.State == appliance.StateStopped && m.Name != s.Primary
	})
	if len(s.Members) < all && s.Phase == appliance.PhaseDegraded {
		s.Phase = appliance.PhaseReady // the members' own states say the rest
	}
	return s
}
