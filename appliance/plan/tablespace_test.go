package plan

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgapp/appliance"
)

// stepProvider has one step for each machine.
type stepProvider struct{ fakeProvider }

func (stepProvider) CreateSteps(_ appliance.Cluster, members []appliance.Member) (out []appliance.Step) {
	for _, m := range members {
		out = append(out, each(appliance.StepMachine, m.Name, "make the machine"))
	}
	return out
}

// TestLoadedTablespacesComeBeforeStreaming has a load from files make tablespaces
// while the standbys start: each gets the directories when the load is over.
func TestLoadedTablespacesComeBeforeStreaming(t *testing.T) {
	t.Parallel()
	c := appliance.Cluster{
		Primary: "node0", Spec: appliance.Spec{Provider: appliance.ProviderLibvirt, SQL: []string{"a.sql"}},
		Members: []appliance.Member{{Name: "node0"}, {Name: "node1", Placement: appliance.PlacementVM}},
	}
	waits := func(c appliance.Cluster, id string) []string {
		r := recipeOf(Config{}, &stepProvider{})
		r.bring(c)
		for _, s := range r.steps() {
			if s.ID == id {
				return s.After
			}
		}
		return nil
	}
	if got := waits(c, "tablespaces"); !slices.Contains(got, "load") || !slices.Contains(got, "start/node1") {
		t.Errorf("the step waits for %q", got)
	}
	if got := waits(c, "streaming"); !slices.Contains(got, "tablespaces") {
		t.Errorf("streaming waits for %q", got)
	}
	c.Spec.Provider = appliance.ProviderLocal
	if got := waits(c, "tablespaces"); got != nil {
		t.Errorf("on a shared machine: %q", got)
	}
}

// TestStartOnASharedMachineMakesNoDirectory needs no primary to ask.
func TestStartOnASharedMachineMakesNoDirectory(t *testing.T) {
	t.Parallel()
	calls, failed := 0, errors.New("no")
	err := recipeOf(Config{}, nil).withTablespaces(t.Context(), appliance.Cluster{Primary: "node0"}, appliance.Member{Name: "node1"}, fakeMachine{}, func() error {
		calls++
		return failed
	})
	if !errors.Is(err, failed) || calls != 1 {
		t.Errorf("%d starts: %v", calls, err)
	}
}

// dirMachine has a machine of its own.
type dirMachine struct{ appliance.Machine }

func (dirMachine) MakeDir(context.Context, string) (bool, error) { return false, nil }

// TestStartWithoutItsPrimaryIsTriedOnce has no cluster on record, so that
// nobody can be asked.
func TestStartWithoutItsPrimaryIsTriedOnce(t *testing.T) {
	t.Parallel()
	calls, failed := 0, errors.New("no")
	r := recipeOf(Config{Store: noStore{}}, nil)
	err := r.withTablespaces(t.Context(), appliance.Cluster{Primary: "node0"}, appliance.Member{Name: "node1"}, dirMachine{}, func() error {
		calls++
		return failed
	})
	if !errors.Is(err, failed) || calls != 1 {
		t.Errorf("%d starts: %v", calls, err)
	}
}

// TestStartMakesATablespaceThatWasDroppedSince has replay miss a directory that
// the primary no longer lists.
func TestStartMakesATablespaceThatWasDroppedSince(t *testing.T) {
	t.Parallel()
	const log = `2026-01-01 10:00:00.000 UTC [7] FATAL:  directory "/srv/gone" does not exist
2026-01-01 10:00:00.000 UTC [7] HINT:  Create this directory for the tablespace before restarting the server.
2026-01-01 10:00:00.000 UTC [7] CONTEXT:  WAL redo at 0/3000060 for Tablespace/CREATE: 16385 "/srv/gone"
2026-01-01 10:00:01.000 UTC [9] STATEMENT:  SELECT '
	x CONTEXT:  WAL redo at 0/3000060 for Tablespace/CREATE: 16385 "/etc/else"
`
	made := &madeDirs{}
	r := recipeOf(Config{Store: noStore{}}, nil)
	err := r.withTablespaces(t.Context(), appliance.Cluster{Primary: "node0"}, appliance.Member{Name: "node1"}, made, func() error {
		if len(made.dirs) > 0 {
			return nil
		}
		return appliance.NewProblem(appliance.ErrPostgresStart, "it ended").WithDetail(log)
	})
	if err != nil || !slices.Equal(made.dirs, []string{"/srv/gone"}) {
		t.Errorf("made %q: %v", made.dirs, err)
	}
}

// madeDirs notes what is made.
type madeDirs struct {
	appliance.Machine
	dirs []string
}

func (m *madeDirs) MakeDir(_ context.Context, dir string) (bool, error) {
	m.dirs = append(m.dirs, dir)
	return true, nil
}

type noStore struct{ Store }

func (noStore) Cluster(context.Context, string) (appliance.Cluster, error) {
	return appliance.Cluster{}, errors.New("nothing on record")
}

// TestLoadedTablespacesThatAreThereAreNotWaitedFor has a standby that may be
// delayed: asking how far it is would panic, without sessions.
func TestLoadedTablespacesThatAreThereAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	standby := appliance.Member{Name: "node1", Placement: appliance.PlacementVM}
	r := recipeOf(Config{Store: oneCluster{members: []appliance.Member{{Name: "node0"}, standby}}}, &oneMachine{machine: runningDirs{}})
	if err := r.followTablespaces(t.Context(), []appliance.Member{standby}, []string{"/srv/fast"}, nil); err != nil {
		t.Error(err)
	}
}

type oneCluster struct {
	Store
	members []appliance.Member
}

func (s oneCluster) Cluster(context.Context, string) (appliance.Cluster, error) {
	return appliance.Cluster{Primary: "node0", Members: s.members}, nil
}

func (oneCluster) Secrets(context.Context, string) (appliance.Secrets, error) {
	return appliance.Secrets{}, nil
}

type oneMachine struct {
	appliance.Provider
	machine appliance.Machine
}

func (p *oneMachine) Machine(appliance.Cluster, appliance.Member) appliance.Machine { return p.machine }

// runningDirs runs, and has all directories.
type runningDirs struct{ dirMachine }

func (runningDirs) ServerRunning(context.Context) (bool, error) { return true, nil }
