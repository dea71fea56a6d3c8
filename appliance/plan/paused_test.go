package plan

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

type watch = func(context.Context, string) *appliance.Problem

func finds(p *appliance.Problem) watch {
	return func(context.Context, string) *appliance.Problem { return p }
}

func untilEnd(ctx context.Context, _ string) *appliance.Problem {
	<-ctx.Done()
	return nil
}

func waitsForEnd(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestPausedProblemSaysWhatEndsThePause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pause         postgres.Pause
		message, hint string
	}{
		"by a person": {
			postgres.Pause{},
			"somebody has paused the replay of node1, which does not connect to the primary before it is resumed",
			"pgapp psql node1 --role admin --cluster main -- -c 'SELECT pg_wal_replay_resume()'",
		},
		"by a person, while it receives": {
			postgres.Pause{Receiving: true},
			"somebody has paused the replay of node1, which does not connect to the primary before it is resumed",
			"pgapp psql node1 --role admin --cluster main -- -c 'SELECT pg_wal_replay_resume()'",
		},
		"by a lower limit": {
			postgres.Pause{Below: "max_connections", Has: 100, Needs: 400},
			"node1 has paused its replay, since the primary's WAL asks for a max_connections of 400, and node1 has 100",
			"pgapp restart node1 --cluster main raises its max_connections; waiting doesn't help",
		},
	} {
		p := pausedProblem("main", "node1", c.pause)
		if p.ID != appliance.ErrReplication || p.Message != c.message || p.Hint != c.hint {
			t.Errorf("%s: %q %q %q", name, p.ID, p.Message, p.Hint)
		}
	}
}

func TestWaitEndsForAStuckStandby(t *testing.T) {
	t.Parallel()
	paused, failed := appliance.NewProblem(appliance.ErrReplication, "paused"), errors.New("no session")
	ended := func(ctx context.Context) context.Context {
		ctx, stop := context.WithCancel(ctx)
		stop()
		return ctx
	}
	same := func(ctx context.Context) context.Context { return ctx }
	for name, c := range map[string]struct {
		begin func(context.Context) context.Context
		watch watch
		waits func(context.Context) error
		stuck bool
		want  error
	}{
		"nobody is stuck":              {same, untilEnd, func(context.Context) error { return nil }, false, nil},
		"the wait fails":               {same, untilEnd, func(context.Context) error { return failed }, false, failed},
		"a standby is stuck":           {same, finds(paused), waitsForEnd, true, paused},
		"stuck, and in time after all": {same, finds(paused), func(context.Context) error { return nil }, false, nil},
		"the operation ends":           {ended, untilEnd, waitsForEnd, false, context.Canceled},
		"the operation ends, stuck":    {ended, finds(paused), waitsForEnd, false, context.Canceled},
	} {
		err := unlessStuck(c.begin(t.Context()), []string{"node1"}, c.watch, c.waits)
		var s *stuck
		if !errors.Is(err, c.want) || errors.As(err, &s) != c.stuck || c.stuck && s.member != "node1" {
			t.Errorf("%s: %v, want %v, stuck %t", name, err, c.want, c.stuck)
		}
	}
}

func TestTogetherKeepsEveryReason(t *testing.T) {
	t.Parallel()
	first := appliance.NewProblem(appliance.ErrReplication, "node1 is paused").WithHint("resume it")
	second := appliance.NewProblem(appliance.ErrConflict, "node2 is paused").WithHint("restart it")
	for name, c := range map[string]struct {
		problems      []*appliance.Problem
		err           error
		id            appliance.ErrorID
		message, hint string
	}{
		"nothing":            {},
		"one":                {[]*appliance.Problem{first}, nil, appliance.ErrReplication, "node1 is paused", "resume it"},
		"two":                {[]*appliance.Problem{first, second}, nil, appliance.ErrReplication, "node1 is paused; node2 is paused", "resume it"},
		"one, and a failure": {[]*appliance.Problem{first}, second, appliance.ErrReplication, "node1 is paused; node2 is paused", "resume it"},
		"a failure alone":    {nil, second, appliance.ErrConflict, "node2 is paused", "restart it"},
	} {
		err := together(c.problems, c.err)
		if c.id == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if p := appliance.AsProblem(err); p.ID != c.id || p.Message != c.message || p.Hint != c.hint {
			t.Errorf("%s: %q %q %q", name, p.ID, p.Message, p.Hint)
		}
	}
}

// TestPausesAsksNobodyInANewCluster has a standby that has no role for pgapp yet.
func TestPausesAsksNobodyInANewCluster(t *testing.T) {
	t.Parallel()
	for _, phase := range []appliance.Phase{appliance.PhaseCreating, appliance.PhaseFailed} {
		f := facts{cluster: clusterOf(appliance.ProviderLocal, phase, 1)}
		if why := (world{}).pauses(f, true)(t.Context(), "node1"); why != nil {
			t.Errorf("%s: %v", phase, why)
		}
	}
	f := facts{cluster: clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 1)}
	if why := (world{}).paused(t.Context(), f, "node9", true); why != nil {
		t.Errorf("a member that is not on record: %v", why)
	}
}

func TestPausedCandidatesAreThoseThatCount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wanted string
		unfit  map[string]string
		want   string
	}{
		"nobody":                         {"", map[string]string{"node1": "lacks commits that node2 has"}, ""},
		"all":                            {"", map[string]string{"node2": unfitPaused, "node1": unfitPaused}, "node1 node2"},
		"the one that was asked for":     {"node2", map[string]string{"node1": unfitPaused, "node2": unfitPaused}, "node2"},
		"not the one that was asked for": {"node2", map[string]string{"node1": unfitPaused, "node2": "does not stream"}, ""},
	} {
		ch := appliance.PrimaryChange{Wanted: c.wanted, Why: &appliance.ElectionRefusal{Unfit: c.unfit}}
		if got := strings.Join(pausedCandidates(ch), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// asked is a machine whose server runs as the answers say, the last one for good.
type asked struct {
	appliance.Machine
	answers []error
	looks   int
}

var errNotRunning = errors.New("no server")

func (a *asked) ServerRunning(context.Context) (bool, error) {
	answer := a.answers[min(a.looks, len(a.answers)-1)]
	a.looks++
	if errors.Is(answer, errNotRunning) {
		return false, nil
	}
	return answer == nil, answer
}

type askedProvider struct {
	appliance.Provider
	machine *asked
}

func (p askedProvider) Machine(appliance.Cluster, appliance.Member) appliance.Machine {
	return p.machine
}

// TestWaitEndsForAServerThatHasEnded has a standby's server end after it was started.
func TestWaitEndsForAServerThatHasEnded(t *testing.T) {
	t.Parallel()
	unknown := errors.New("the machine does not answer")
	for name, c := range map[string]struct {
		answers []error
		after   time.Duration // 0: never
	}{
		"it runs":                      {[]error{nil}, 0},
		"it ends":                      {[]error{nil, nil, errNotRunning}, 3 * time.Second},
		"it had ended before":          {[]error{errNotRunning}, time.Second},
		"it is started again":          {[]error{errNotRunning, nil}, 0},
		"nobody knows":                 {[]error{unknown}, 0},
		"one look, and then no answer": {[]error{errNotRunning, unknown}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := world{provider: askedProvider{machine: &asked{answers: c.answers}}}
			f := facts{cluster: clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 1)}
			ctx, stop := context.WithTimeout(t.Context(), streamingTimeout)
			defer stop()
			begin := time.Now()
			err := unlessStuck(ctx, []string{"node1"}, either(untilEnd, w.ends(f)), waitsForEnd)
			var s *stuck
			switch took := time.Since(begin); {
			case c.after == 0 && (errors.As(err, &s) || !errors.Is(err, context.DeadlineExceeded)):
				t.Errorf("%s: %v, want to wait to the end", name, err)
			case c.after > 0 && (!errors.As(err, &s) || took != c.after || !strings.Contains(s.why.Hint, "pgapp start node1 --cluster main")):
				t.Errorf("%s: %v after %s, want a hint to start after %s", name, err, took, c.after)
			}
		})
	}
}

func TestEitherEndsWithTheFirstFinding(t *testing.T) {
	t.Parallel()
	paused := appliance.NewProblem(appliance.ErrReplication, "paused")
	for name, c := range map[string]struct {
		watches []watch
		want    *appliance.Problem
	}{
		"none finds anything": {[]watch{finds(nil), finds(nil)}, nil},
		"the first does":      {[]watch{finds(paused), untilEnd}, paused},
		"the second does":     {[]watch{untilEnd, finds(paused)}, paused},
		"one has no answer":   {[]watch{finds(nil), finds(paused)}, paused},
	} {
		if got := either(c.watches...)(t.Context(), "node1"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRefusalNamesAdoptWhereAnotherMemberTakesWrites(t *testing.T) {
	t.Parallel()
	f := facts{cluster: clusterOf(appliance.ProviderLocal, appliance.PhaseReady, 2)}
	for name, c := range map[string]struct {
		unfit map[string]string
		want  string
	}{
		"one takes writes": {map[string]string{"node1": "lacks commits that node2 has", "node2": ha.UnfitWrites}, "pgapp adopt --cluster main"},
		"one is behind":    {map[string]string{"node1": "lacks commits that node2 has"}, "pgapp failover --allow-data-loss --cluster main"},
	} {
		ch := appliance.PrimaryChange{
			Kind: appliance.OpFailover, Phase: appliance.ChangeRefused,
			Why: &appliance.ElectionRefusal{Reason: appliance.ErrNoCandidate, Unfit: c.unfit},
		}
		p := appliance.AsProblem(primaryChange{}.exact(t.Context(), f, ch, outcome(f.cluster, ch)))
		if p.ID != appliance.ErrNoCandidate || !strings.Contains(p.Hint, c.want) {
			t.Errorf("%s: %q %q", name, p.Message, p.Hint)
		}
	}
}
