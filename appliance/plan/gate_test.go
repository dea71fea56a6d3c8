package plan

import (
	"context"
	"errors"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// TestPrimaryStartsShutOnlyWhereALaterStepLetsTheApplicationIn has the starts of members,
// also of those whose machines got another size.
func TestPrimaryStartsShutOnlyWhereALaterStepLetsTheApplicationIn(t *testing.T) {
	t.Parallel()
	promise := ha.Over("node1", "node2")
	for name, c := range map[string]struct {
		member string
		admits bool
		sync   appliance.Promise
		phase  appliance.Phase
		want   bool
	}{
		"the primary":                         {"node0", true, promise, appliance.PhaseReady, true},
		"the primary of a stopped cluster":    {"node0", true, promise, appliance.PhaseStopped, true},
		"the primary, and no step lets in":    {"node0", false, promise, appliance.PhaseReady, false},
		"the primary, and nothing is awaited": {"node0", true, appliance.Promise{}, appliance.PhaseReady, false},
		"a standby":                           {"node1", true, promise, appliance.PhaseReady, false},
		"a new cluster's primary":             {"node0", true, promise, appliance.PhaseCreating, false},
		"that of one whose creation failed":   {"node0", true, promise, appliance.PhaseFailed, false},
	} {
		f := facts{cluster: clusterOf(appliance.ProviderLibvirt, c.phase, 2)}
		f.cluster.Sync = c.sync
		m, _ := f.cluster.Member(c.member)
		if got := (starter{member: c.member, admits: c.admits}).shuts(f, m); got != c.want {
			t.Errorf("%s: shut %t, want %t", name, got, c.want)
		}
	}
}

// brokenStore has no record to read, and counts the attempts.
type brokenStore struct {
	Store
	asked int
}

func (s *brokenStore) Cluster(context.Context, string) (appliance.Cluster, error) {
	s.asked++
	return appliance.Cluster{}, errors.New("no record")
}

// TestChangeThatPromotedNobodyLetsTheApplicationIn has changes that have ended. One that
// has promoted a member leaves that to the steps behind it. What fails is no failure of the
// change: the primary's next start lets the application in.
func TestChangeThatPromotedNobodyLetsTheApplicationIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		phase   appliance.ChangePhase
		promise bool
		looks   bool
	}{
		"cancelled":                     {appliance.ChangeCancelled, true, true},
		"refused":                       {appliance.ChangeRefused, true, true},
		"done":                          {appliance.ChangeDone, true, false},
		"cancelled, nothing is awaited": {appliance.ChangeCancelled, false, false},
	} {
		st := &brokenStore{}
		p := primaryChange{work: recipeOf(Config{Store: st}, nil).work}
		p.work.decision.Promise = c.promise
		err := p.letIn(t.Context(), appliance.PrimaryChange{Phase: c.phase}, func(appliance.Progress) {})
		if err != nil || (st.asked > 0) != c.looks {
			t.Errorf("%s: %v after %d looks at the record, want a look: %t", name, err, st.asked, c.looks)
		}
	}
}
