package control

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

func TestMarkedMembersAreFencedWhileTheyDontRun(t *testing.T) {
	t.Parallel()
	const back = "to be brought back: pgapp rejoin"
	change := func(phase appliance.ChangePhase) *appliance.PrimaryChange {
		return &appliance.PrimaryChange{Operation: "op", Kind: appliance.OpFailover, From: "node0", Phase: phase}
	}
	running := appliance.Operation{ID: "op"}
	rejoins := appliance.Operation{ID: "op", Steps: []appliance.StepRecord{{ID: "rejoin/node1", State: appliance.StepRunning}}}
	for _, tt := range []struct {
		name   string
		change *appliance.PrimaryChange
		marked bool
		member string
		state  appliance.MemberState
		op     appliance.Operation
		want   appliance.MemberState
		detail string
	}{
		{"a marked standby that is stopped", nil, true, "node1", appliance.StateStopped, appliance.Operation{}, appliance.StateFenced, back},
		{"a marked standby that accepts writes", nil, true, "node1", appliance.StateFailed, appliance.Operation{}, appliance.StateFailed, back + "; as it was"},
		{"a marked standby that is out of reach", nil, true, "node1", appliance.StateUnreachable, appliance.Operation{}, appliance.StateUnreachable, back + "; as it was"},
		{"a marked standby that an operation brings back", nil, true, "node1", appliance.StateStopped, rejoins, appliance.StateFenced, "being brought back"},
		{"a standby that is stopped", nil, false, "node1", appliance.StateStopped, appliance.Operation{}, appliance.StateStopped, ""},
		{"the old primary, not proven to be gone", change(appliance.ChangeFencing), false, "node0", appliance.StateStopped, running, appliance.StateStopped, "being ended by the failover"},
		{"the old primary, killed", change(appliance.ChangeElecting), false, "node0", appliance.StateStopped, running, appliance.StateFenced, "ended by the failover"},
		{"the old primary, not proven to be killed", change(appliance.ChangeFencing), false, "node0", appliance.StateUnreachable, running, appliance.StateUnreachable, "as it was"},
		{"the old primary, nothing done yet", change(appliance.ChangeLooking), false, "node0", appliance.StateStopped, running, appliance.StateStopped, ""},
		{"the old primary, starting again", change(appliance.ChangeReturning), false, "node0", appliance.StateStopped, running, appliance.StateStopped, ""},
		{"the primary after a change that was refused", change(appliance.ChangeRefused), false, "node0", appliance.StateStopped, appliance.Operation{}, appliance.StateStopped, ""},
	} {
		r := appliance.Cluster{Primary: "node0", Change: tt.change, Members: []appliance.Member{{Name: "node0"}, {Name: "node1"}}}
		if tt.marked {
			r.Members[1].Return = appliance.WayLook
		}
		s := appliance.MemberStatus{Name: tt.member, Role: r.RoleOf(tt.member), State: tt.state}
		if tt.state != appliance.StateStopped {
			s.Detail = "as it was"
		}
		tellMarked(&s, r, tt.op)
		if s.State != tt.want || s.Detail != tt.detail {
			t.Errorf("%s: %s, %q, want %s, %q", tt.name, s.State, s.Detail, tt.want, tt.detail)
		}
	}
}

func TestStatusShowsAChangeThatIsNotFinished(t *testing.T) {
	t.Parallel()
	running := appliance.Operation{ID: "op", Steps: []appliance.StepRecord{
		{ID: "change", State: appliance.StepRunning, Progress: appliance.Progress{Detail: "killing node0 and proving its end: no answer"}},
		{ID: "checkpoint", State: appliance.StepPending},
	}}
	other := appliance.Operation{ID: "other"}
	for _, tt := range []struct {
		name   string
		change *appliance.PrimaryChange
		op     appliance.Operation
		want   *appliance.ChangeStatus
	}{
		{"no change", nil, running, nil},
		{
			"under way", &appliance.PrimaryChange{Operation: "op", Kind: appliance.OpFailover, From: "node0", Phase: appliance.ChangeFencing}, running,
			&appliance.ChangeStatus{Operation: "op", Kind: appliance.OpFailover, From: "node0", Phase: appliance.ChangeFencing, Cancellable: true, Detail: "killing node0 and proving its end: no answer"},
		},
		{
			"left by an operation that has ended", &appliance.PrimaryChange{Operation: "gone", Kind: appliance.OpSwitchover, From: "node0", To: "node1", Phase: appliance.ChangePromoting}, other,
			&appliance.ChangeStatus{Operation: "gone", Kind: appliance.OpSwitchover, From: "node0", To: "node1", Phase: appliance.ChangePromoting},
		},
		{"left where it could still go back", &appliance.PrimaryChange{Operation: "gone", From: "node0", Phase: appliance.ChangeLooking}, appliance.Operation{}, nil},
		{"done", &appliance.PrimaryChange{Operation: "op", From: "node0", To: "node1", Phase: appliance.ChangeDone}, running, nil},
	} {
		var s appliance.ClusterStatus
		addChange(&s, appliance.Cluster{Epoch: 3, Change: tt.change}, tt.op)
		switch {
		case s.Change == nil || tt.want == nil:
			if s.Change != tt.want {
				t.Errorf("%s: %+v, want %+v", tt.name, s.Change, tt.want)
			}
		case *s.Change != *tt.want:
			t.Errorf("%s: %+v, want %+v", tt.name, *s.Change, *tt.want)
		}
		if s.Epoch != 3 {
			t.Errorf("%s: epoch %d", tt.name, s.Epoch)
		}
	}
}

// TestCandidateIsNoStrayWriter: between its promotion and the record of it, a standby
// that accepts writes is the one that the change has chosen.
func TestCandidateIsNoStrayWriter(t *testing.T) {
	t.Parallel()
	running := appliance.Operation{ID: "op"}
	for _, tt := range []struct {
		member string
		phase  appliance.ChangePhase
		want   appliance.MemberState
	}{
		{"node1", appliance.ChangePromoting, appliance.StateRunning},
		{"node1", appliance.ChangeElecting, appliance.StateFailed},
		{"node2", appliance.ChangePromoting, appliance.StateFailed},
	} {
		r := appliance.Cluster{
			Primary: "node0", Members: []appliance.Member{{Name: "node0"}, {Name: "node1"}, {Name: "node2"}},
			Change: &appliance.PrimaryChange{Operation: "op", Kind: appliance.OpFailover, From: "node0", To: "node1", Phase: tt.phase},
		}
		m, _ := r.Member(tt.member)
		look := observe.Look{Server: observe.Known(postgres.Observation{Timeline: 2})}
		if s := memberStatus(r, m, look, observe.Fact[[]appliance.ReplicationRow]{}, running); s.State != tt.want {
			t.Errorf("%s, phase %s: %s, %q, want %s", tt.member, tt.phase, s.State, s.Detail, tt.want)
		}
	}
}
