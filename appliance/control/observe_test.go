package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
)

// machine answers for its host; the member itself never answers.
type machine struct {
	appliance.Machine
	power appliance.Power
	err   error
	asked bool
}

func (m *machine) Power(context.Context) (appliance.Power, error) { return m.power, m.err }

func (m *machine) ServerRunning(context.Context) (bool, error) {
	m.asked = true
	return false, errors.New("no answer")
}

func TestMemberStatusGoesByTheMachinesPower(t *testing.T) {
	t.Parallel()
	r := appliance.Cluster{Name: "main", Primary: "node0"}
	silent := errors.New("connection timed out")
	for _, tt := range []struct {
		name string
		look look
		want appliance.MemberState
	}{
		{"off", look{power: appliance.Power{State: appliance.PowerOff, Reason: "its machine is off"}}, appliance.StateStopped},
		{"paused", look{power: appliance.Power{State: appliance.PowerPaused, Reason: "an I/O error"}}, appliance.StatePaused},
		{"booting", look{err: silent, power: appliance.Power{State: appliance.PowerBooting, Reason: "it boots"}}, appliance.StateBooting},
		{"booting, and answers", look{running: true, power: appliance.Power{State: appliance.PowerBooting}}, appliance.StateRunning},
		{"on, and silent", look{err: silent, running: true, power: appliance.Power{State: appliance.PowerOn}}, appliance.StateUnreachable},
		{"on, without a server", look{err: silent, power: appliance.Power{State: appliance.PowerOn}}, appliance.StateStopped},
		{"no machine of its own", look{err: silent}, appliance.StateStopped},
	} {
		s := memberStatus(r, appliance.Member{Name: "node0"}, tt.look, nil, appliance.Operation{})
		if s.State != tt.want || s.State != appliance.StateRunning && tt.look.power.Reason != "" && s.Detail != tt.look.power.Reason {
			t.Errorf("%s: got %s, %q, want %s", tt.name, s.State, s.Detail, tt.want)
		}
	}
}

func TestMemberStatusSaysWhyReplayEnded(t *testing.T) {
	t.Parallel()
	r := appliance.Cluster{Name: "main", Primary: "node0"}
	l := look{err: errors.New("connection refused"), missing: []string{"/srv/fast"}}
	s := memberStatus(r, appliance.Member{Name: "node1"}, l, nil, appliance.Operation{})
	if s.State != appliance.StateStopped || !strings.Contains(s.Detail, "/srv/fast") || !strings.Contains(s.Detail, "pgapp start node1") {
		t.Errorf("got %s, %q", s.State, s.Detail)
	}
	// A member of a shared machine, or one that the user stopped, isn't asked.
	if got := missingTablespaces(t.Context(), appliance.Member{}, &machine{}); got != nil {
		t.Errorf("a shared machine: %q", got)
	}
}

func TestObserveAsksNoMachineThatIsOffOrPaused(t *testing.T) {
	t.Parallel()
	for _, state := range []appliance.PowerState{appliance.PowerOff, appliance.PowerPaused} {
		m := &machine{power: appliance.Power{State: state}}
		// A controller without sessions: asking for one would panic.
		l := (&Controller{}).observe(t.Context(), appliance.Cluster{}, appliance.Member{}, m, appliance.Secret{})
		if l.power.State != state || m.asked {
			t.Errorf("%s: got %+v, asked %v", state, l, m.asked)
		}
	}
	if p := power(t.Context(), &machine{err: errors.New("libvirt is gone")}); p.State != "" {
		t.Errorf("a host that doesn't answer: got %+v", p)
	}
}

func TestObservedPhaseIsNotReadyWhileItChanges(t *testing.T) {
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
