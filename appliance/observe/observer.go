package observe

import (
	"context"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// limit bounds each question to a member, so that a hung member doesn't hold up the
// looks at the others.
const limit = 2 * time.Second

// Observer looks at members. It is safe for concurrent use.
type Observer struct{ sessions *postgres.Sessions }

// New returns an observer that shares the kept sessions with the operations' steps.
func New(sessions *postgres.Sessions) *Observer { return &Observer{sessions} }

// Close ends the kept sessions.
func (o *Observer) Close(ctx context.Context) { o.sessions.Close(ctx) }

// Subject is a member to look at, with its machine and password.
type Subject struct {
	Member  appliance.Member
	Primary bool
	Machine appliance.Machine
	// shared is set if the members share a machine, and so their tablespaces.
	shared   bool
	session  string
	password appliance.Secret
}

// Machines gives access to members' machines, as a provider does.
type Machines interface {
	Machine(c appliance.Cluster, m appliance.Member) appliance.Machine
}

// Subjects returns the cluster's members in the record's order.
func Subjects(c appliance.Cluster, p Machines, s appliance.Secrets) []Subject {
	out := make([]Subject, 0, len(c.Members))
	for _, m := range c.Members {
		out = append(out, Subject{
			Member: m, Primary: m.Name == c.Primary, Machine: p.Machine(c, m),
			shared:  c.SharesMachine() && len(c.Members) > 1,
			session: postgres.SessionKey(c, m.Name), password: s.Get(appliance.SecretControl),
		})
	}
	return out
}

// dial opens a session to the member's maintenance database.
func (s Subject) dial(ctx context.Context) (*postgres.Control, error) {
	return postgres.Connect(ctx, s.Member.Host, s.Member.Port, postgres.MaintenanceDatabase, s.password)
}

func (s Subject) look() Look { return Look{Member: s.Member, Primary: s.Primary} }

// Members looks at all members at the same time, for their status. If a standby
// seems to be ahead of its primary, Members looks at the primary again: the standby
// may only have answered later.
func (o *Observer) Members(ctx context.Context, subjects []Subject) []Look {
	looks := each(subjects, func(s Subject) Look { return o.status(ctx, s) })
	p := slices.IndexFunc(subjects, func(s Subject) bool { return s.Primary })
	if p >= 0 && slices.ContainsFunc(looks, func(l Look) bool { return Ahead(l, looks[p]) }) {
		looks[p] = o.status(ctx, subjects[p])
	}
	return looks
}

// each looks at all subjects at the same time.
func each(subjects []Subject, look func(Subject) Look) []Look {
	out := make([]Look, len(subjects))
	var wg sync.WaitGroup
	for i, s := range subjects {
		wg.Go(func() { out[i] = look(s) })
	}
	wg.Wait()
	return out
}

// status asks the machine's host, then the server. If the server doesn't answer,
// status asks the machine for the server's process.
func (o *Observer) status(ctx context.Context, s Subject) Look {
	l := s.look()
	l.Power = power(ctx, s.Machine)
	state := l.Power.Value().State
	if state == appliance.PowerOff || state == appliance.PowerPaused {
		return l
	}
	o.ask(ctx, s, &l)
	if l.Server.Known() || state == appliance.PowerBooting {
		return l
	}
	// The limit of the unanswered question is used up; this one gets its own.
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.Process = answer(s.Machine.ServerRunning(ctx))
	_, own := s.Machine.(appliance.DirMaker)
	if l.Process.Known() && !l.Process.Value() && !s.Primary && own && !s.Member.WantStopped {
		l.Missing = Known(postgres.LoggedMissing(ctx, s.Machine))
	}
	return l
}

// power asks the machine's host, which answers at once. A machine that is off or
// paused doesn't answer.
func power(ctx context.Context, mc appliance.Machine) Fact[appliance.Power] {
	powered, ok := mc.(appliance.Powered)
	if !ok {
		return Fact[appliance.Power]{}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return answer(powered.Power(ctx))
}

// ask asks the server in a new session. If one question fails, the look has none of
// the answers.
func (o *Observer) ask(ctx context.Context, s Subject, l *Look) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	seen := *l
	err := o.sessions.UseNew(ctx, s.session, s.dial, func(c *postgres.Control) error {
		server, err := c.Observe(ctx)
		if err != nil {
			return err
		}
		seen.Server = Known(server)
		if !s.Primary {
			return nil
		}
		rows, err := c.Replication(ctx)
		if err != nil {
			return err
		}
		seen.Walsenders = Known(rows)
		if !s.shared {
			return nil
		}
		found, err := c.Tablespaces(ctx)
		seen.Tablespaces = Known(found)
		return err
	})
	if err != nil {
		l.Server = Unknown[postgres.Observation](err)
		return
	}
	*l = seen
}
