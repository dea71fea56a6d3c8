package control

import "pgapp/appliance"

// addChange adds to the status what the record says of changes of primary. The operation
// is the running one, or empty.
func addChange(s *appliance.ClusterStatus, r appliance.Cluster, running appliance.Operation) {
	s.Epoch, s.Promotions = r.Epoch, r.Promotions
	ch := underWay(r, running)
	if ch == nil {
		return
	}
	s.Change = &appliance.ChangeStatus{
		Operation: ch.Operation, Kind: ch.Kind, From: ch.From, To: ch.To, Phase: ch.Phase, Cancellable: !ch.OneWay(),
	}
	if running.ID != ch.Operation {
		return
	}
	for _, step := range running.Steps {
		if step.State == appliance.StepRunning && step.Progress.Detail != "" {
			s.Change.Detail = step.Progress.Detail
		}
	}
}

// underWay returns the change of primary that the running operation makes, or that has
// been left unfinished by one that has ended. It is nil if there is none.
func underWay(r appliance.Cluster, running appliance.Operation) *appliance.PrimaryChange {
	if ch := r.Change; ch != nil && !ch.Phase.Final() && ch.Operation == running.ID {
		return ch
	}
	return unfinished(r)
}

// promoting tells whether the change of primary under way makes the member the primary.
func promoting(r appliance.Cluster, running appliance.Operation, member string) bool {
	ch := underWay(r, running)
	return ch != nil && ch.To == member && ch.Phase.Committed()
}

// tellMarked shows what a change of primary made of the member: one that it has ended, or that
// has to be brought back, is fenced while it doesn't run.
func tellMarked(s *appliance.MemberStatus, r appliance.Cluster, running appliance.Operation) {
	m, _ := r.Member(s.Name)
	stopped := s.State == appliance.StateStopped
	ch := underWay(r, running)
	switch {
	case m.Return != "" && s.Role == appliance.RoleStandby:
		if stopped {
			s.State = appliance.StateFenced
		}
		detail := "to be brought back: pgapp rejoin"
		if returning(running, s.Name) {
			detail = "being brought back"
		}
		if s.Detail != "" {
			detail += "; " + s.Detail
		}
		s.Detail = detail
	case stopped && ch != nil && ch.From == s.Name && ch.Phase == appliance.ChangeFencing:
		s.Detail = "being ended by the " + string(ch.Kind) // a process may be left that doesn't answer
	case stopped && ch != nil && ch.From == s.Name && ch.Phase != appliance.ChangeLooking && ch.Phase != appliance.ChangeReturning:
		s.State, s.Detail = appliance.StateFenced, "ended by the "+string(ch.Kind)
	}
}

// returning tells whether the running operation is to bring the member back.
func returning(running appliance.Operation, member string) bool {
	for _, s := range running.Steps {
		if s.ID == "rejoin/"+member {
			return s.State == appliance.StepPending || s.State == appliance.StepRunning
		}
	}
	return false
}
