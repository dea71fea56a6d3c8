package plan

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// darkProvider has one virtual machine that is off. It answers after its second start.
type darkProvider struct {
	appliance.Provider
	starts int
	state  string
}

func (p *darkProvider) StartMachine(context.Context, appliance.Cluster, appliance.Member, appliance.Report) error {
	if p.starts++; p.starts < 2 {
		return errors.New("no answer")
	}
	return nil
}

// darkMachine is the provider's machine.
type darkMachine struct {
	appliance.Machine
	p *darkProvider
}

func (*darkMachine) Layout() appliance.Layout { return appliance.Layout{DataDir: "/data"} }

func (m *darkMachine) Fence(context.Context) error {
	m.p.starts = 0
	return nil
}

func (m *darkMachine) Run(context.Context, appliance.Command) (appliance.Result, error) {
	if m.p.starts < 2 {
		return appliance.Result{}, errors.New("no route to host")
	}
	return appliance.Result{Stdout: []byte("Database system identifier: 7\nDatabase cluster state: " + m.p.state + "\n")}, nil
}

func (p *darkProvider) Machine(appliance.Cluster, appliance.Member) appliance.Machine {
	return &darkMachine{p: p}
}

// TestCandidateOnAMachineThatIsOffIsLookedAt fences candidates in virtual machines, which
// are off then. Whether they had been promoted is found out all the same.
func TestCandidateOnAMachineThatIsOffIsLookedAt(t *testing.T) {
	t.Parallel()
	m := appliance.Member{Name: "node1", Placement: appliance.PlacementVM}
	f := facts{cluster: appliance.Cluster{Members: []appliance.Member{{Name: "node0"}, m}}}
	for state, want := range map[string]bool{
		"in production": true, "shut down": true, "shutting down": true,
		"in archive recovery": false, "shut down in recovery": false,
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := work{}
				w.provider = &darkProvider{state: state}
				p := newPrimaryChange(w)
				fence := ha.Command{Verb: ha.Fence, Member: m.Name}
				if err := p.command(t.Context(), f, ha.Step{Change: appliance.PrimaryChange{To: m.Name}}, fence); err != nil {
					t.Fatal(err)
				}
				if got := p.candidate(glance{member: m}); !got.Gone || got.Writes != want {
					t.Errorf("got %+v, want that it was promoted: %t", got, want)
				}
			})
		})
	}
}

// TestPromotionWaitsForACandidateThatReplays has a candidate replay for longer than the
// phase may take, stand still, and end.
func TestPromotionWaitsForACandidateThatReplays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, began := newReadiness(), time.Now()
		ch := appliance.PrimaryChange{Phase: appliance.ChangePromoting, To: "node1"}
		g := glance{member: appliance.Member{Name: "node1"}, answered: true}
		limit := phaseLimit(ch.Phase)
		for range 300 {
			time.Sleep(limit / 10)
			g.standing.Replayed++
			if r.expired(ch.Phase, began) || r.candidateEnded(ch, []glance{g}, time.Now()) {
				t.Fatalf("the time is over after %s", time.Since(began))
			}
		}
		time.Sleep(limit)
		if r.expired(ch.Phase, began) {
			t.Error("the time is over before a candidate has stood still for that long")
		}
		if time.Sleep(time.Second); !r.expired(ch.Phase, began) {
			t.Error("a candidate that stands still is waited for")
		}
		g = glance{member: g.member, ended: true}
		if r.candidateEnded(ch, []glance{g}, time.Now()) {
			t.Error("one look is enough for an end")
		}
		if !r.candidateEnded(ch, []glance{g}, time.Now()) {
			t.Error("a candidate whose server has ended is waited for")
		}
	})
}
