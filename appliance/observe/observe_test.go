package observe

import (
	"context"
	"errors"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// machine answers for its host, and for a member whose server is gone.
type machine struct {
	appliance.Machine
	power   appliance.Power
	err     error
	running bool
	asked   bool
}

func (m *machine) Power(context.Context) (appliance.Power, error) { return m.power, m.err }

func (m *machine) ServerRunning(context.Context) (bool, error) {
	m.asked = true
	return m.running, m.err
}

// silent is a member at whose address nothing listens.
func silent(m appliance.Machine) []Subject {
	c := appliance.Cluster{Name: "main", Primary: "node0", Members: []appliance.Member{{Name: "node1", Host: "127.0.0.1", Port: 1}}}
	return Subjects(c, provider{m}, appliance.Secrets{})
}

type provider struct{ machine appliance.Machine }

func (p provider) Machine(appliance.Cluster, appliance.Member) appliance.Machine { return p.machine }

func TestMembersAsksNoMachineThatIsOffOrPaused(t *testing.T) {
	t.Parallel()
	for _, state := range []appliance.PowerState{appliance.PowerOff, appliance.PowerPaused} {
		m := &machine{power: appliance.Power{State: state}}
		// An observer without sessions: asking for one would panic.
		l := New(nil).Members(t.Context(), silent(m))[0]
		if l.Power.Value().State != state || m.asked || !errors.Is(l.Server.Why(), ErrNotAsked) || !errors.Is(l.Process.Why(), ErrNotAsked) {
			t.Errorf("%s: got %+v, asked %v", state, l, m.asked)
		}
	}
}

func TestMembersTellsUnknownFromNotSo(t *testing.T) {
	t.Parallel()
	away := errors.New("libvirt is gone")
	for _, tt := range []struct {
		name    string
		machine *machine
		process Fact[bool]
		power   Fact[appliance.Power]
	}{
		{"no server", &machine{power: appliance.Power{State: appliance.PowerOn}}, Known(false), Known(appliance.Power{State: appliance.PowerOn})},
		{"no answer", &machine{err: away}, Unknown[bool](away), Unknown[appliance.Power](away)},
	} {
		l := New(&postgres.Sessions{}).Members(t.Context(), silent(tt.machine))[0]
		if l.Process != tt.process || l.Power != tt.power || !appliance.IsProblem(l.Server.Why(), appliance.ErrMemberUnreachable) {
			t.Errorf("%s: got %+v", tt.name, l)
		}
		if _, ok := any(tt.machine).(appliance.DirMaker); ok || !errors.Is(l.Missing.Why(), ErrNotAsked) {
			t.Errorf("%s: tablespaces were looked for on a shared machine: %+v", tt.name, l.Missing)
		}
	}
}

func TestInspectAsksNoDiskOfAMachineThatIsAway(t *testing.T) {
	t.Parallel()
	away := errors.New("no route")
	l := New(nil).Inspect(t.Context(), silent(&machine{err: away}))[0]
	if !errors.Is(l.Process.Why(), away) || l.DataDir.Known() || !errors.Is(l.DataDir.Why(), ErrNotAsked) || l.TakesWrites() {
		t.Errorf("got %+v", l)
	}
}

func TestAhead(t *testing.T) {
	t.Parallel()
	server := func(recovery bool, lsn string) Look {
		return Look{Server: Known(postgres.Observation{InRecovery: recovery, LSN: lsn})}
	}
	primary := server(false, "0/3000000")
	for _, tt := range []struct {
		name    string
		standby Look
		want    bool
	}{
		{"behind", server(true, "0/2000000"), false},
		{"equal", server(true, "0/3000000"), false},
		{"ahead", server(true, "0/3000001"), true},
		{"a second primary", server(false, "0/4000000"), false},
		{"silent", Look{Server: Unknown[postgres.Observation](errors.New("refused"))}, false},
		{"not asked", Look{}, false},
	} {
		if got := Ahead(tt.standby, primary); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
		if Ahead(tt.standby, Look{}) {
			t.Errorf("%s: ahead of a primary that nobody asked", tt.name)
		}
	}
}
