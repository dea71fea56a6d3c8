package control

import (
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

func TestMemberStatusGoesByTheMachinesPower(t *testing.T) {
	t.Parallel()
	r := appliance.Cluster{Name: "main", Primary: "node0"}
	silent := observe.Unknown[postgres.Observation](errors.New("connection timed out"))
	power := func(state appliance.PowerState, reason string) observe.Fact[appliance.Power] {
		return observe.Known(appliance.Power{State: state, Reason: reason})
	}
	answers, server, none := observe.Known(postgres.Observation{}), observe.Known(true), observe.Known(false)
	for _, tt := range []struct {
		name string
		look observe.Look
		want appliance.MemberState
	}{
		{"off", observe.Look{Power: power(appliance.PowerOff, "its machine is off")}, appliance.StateStopped},
		{"paused", observe.Look{Power: power(appliance.PowerPaused, "an I/O error")}, appliance.StatePaused},
		{"booting", observe.Look{Server: silent, Power: power(appliance.PowerBooting, "it boots")}, appliance.StateBooting},
		{"booting, and answers", observe.Look{Server: answers, Power: power(appliance.PowerBooting, "")}, appliance.StateRunning},
		{"on, and silent", observe.Look{Server: silent, Process: server, Power: power(appliance.PowerOn, "")}, appliance.StateUnreachable},
		{"on, without a server", observe.Look{Server: silent, Process: none, Power: power(appliance.PowerOn, "")}, appliance.StateStopped},
		{"no machine of its own", observe.Look{Server: silent, Process: none}, appliance.StateStopped},
		{"silent, and its machine too", observe.Look{Server: silent, Process: observe.Unknown[bool](errors.New("no route"))}, appliance.StateUnreachable},
	} {
		s := memberStatus(r, appliance.Member{Name: "node0"}, tt.look, tt.look.Walsenders, appliance.Operation{})
		if reason := tt.look.Power.Value().Reason; s.State != tt.want || s.State != appliance.StateRunning && reason != "" && s.Detail != reason {
			t.Errorf("%s: got %s, %q, want %s", tt.name, s.State, s.Detail, tt.want)
		}
	}
}

func TestMemberStatusSaysWhyReplayEnded(t *testing.T) {
	t.Parallel()
	r := appliance.Cluster{Name: "main", Primary: "node0"}
	l := observe.Look{
		Server:  observe.Unknown[postgres.Observation](errors.New("connection refused")),
		Process: observe.Known(false), Missing: observe.Known([]string{"/srv/fast"}),
	}
	s := memberStatus(r, appliance.Member{Name: "node1"}, l, l.Walsenders, appliance.Operation{})
	if s.State != appliance.StateStopped || !strings.Contains(s.Detail, "/srv/fast") || !strings.Contains(s.Detail, "pgapp start node1") {
		t.Errorf("got %s, %q", s.State, s.Detail)
	}
}

func TestMemberStatusTellsASilentPrimaryFromAMissingWalsender(t *testing.T) {
	t.Parallel()
	r := appliance.Cluster{Name: "main", Primary: "node0"}
	l := observe.Look{Server: observe.Known(postgres.Observation{InRecovery: true, LSN: "0/3000060"})}
	for _, tt := range []struct {
		name       string
		walsenders observe.Fact[[]appliance.ReplicationRow]
		want       appliance.MemberState
	}{
		{"silent primary", observe.Fact[[]appliance.ReplicationRow]{}, appliance.StateCatchup},
		{"no walsender", observe.Known[[]appliance.ReplicationRow](nil), appliance.StateFailed},
		{"streams", observe.Known([]appliance.ReplicationRow{{ApplicationName: "node1", State: "streaming"}}), appliance.StateStreaming},
	} {
		if s := memberStatus(r, appliance.Member{Name: "node1"}, l, tt.walsenders, appliance.Operation{}); s.State != tt.want {
			t.Errorf("%s: got %s, %q, want %s", tt.name, s.State, s.Detail, tt.want)
		}
	}
}

func TestObservedPhaseIsDegradedDuringAChange(t *testing.T) {
	t.Parallel()
	good := []appliance.MemberStatus{{State: appliance.StateRunning}, {State: appliance.StateStreaming}}
	for _, tt := range []struct {
		name    string
		record  appliance.Cluster
		members []appliance.MemberStatus
		busy    bool
		want    appliance.Phase
	}{
		{"all do their part", appliance.Cluster{Phase: appliance.PhaseReady}, good, false, appliance.PhaseReady},
		{"while all are stopped", appliance.Cluster{Phase: appliance.PhaseReady, WantStopped: true}, good, true, appliance.PhaseDegraded},
		{"one is paused", appliance.Cluster{Phase: appliance.PhaseReady}, []appliance.MemberStatus{{State: appliance.StatePaused}}, false, appliance.PhaseDegraded},
		{"one boots in an operation", appliance.Cluster{Phase: appliance.PhaseReady}, []appliance.MemberStatus{{State: appliance.StateBooting}}, true, appliance.PhaseDegraded},
		{"stopped", appliance.Cluster{Phase: appliance.PhaseStopped, WantStopped: true}, nil, false, appliance.PhaseStopped},
	} {
		if got := observedPhase(tt.record, tt.members, tt.busy); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
