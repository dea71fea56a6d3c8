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

// TestLoadedTablespacesStepPrecedesStreaming loads from files, which may create
// tablespaces while the standbys start. The standbys get the directories after the load.
// On a shared machine there is no such step.
func TestLoadedTablespacesStepPrecedesStreaming(t *testing.T) {
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
		t.Errorf("step tablespaces waits for %q, want load and start/node1", got)
	}
	if got := waits(c, "streaming"); !slices.Contains(got, "tablespaces") {
		t.Errorf("step streaming waits for %q, want tablespaces", got)
	}
	c.Spec.Provider = appliance.ProviderLocal
	if got := waits(c, "tablespaces"); got != nil {
		t.Errorf("on a shared machine, step tablespaces waits for %q, want no step", got)
	}
}

// TestWithTablespacesOnSharedMachineStartsOnce also shows that the primary is not
// asked: the recipe has no store.
func TestWithTablespacesOnSharedMachineStartsOnce(t *testing.T) {
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

// dirMachine is a member's own machine, which has every directory.
type dirMachine struct{ appliance.Machine }

func (dirMachine) MakeDir(context.Context, string) (bool, error) { return false, nil }

// TestWithTablespacesStartsOnceWithoutPrimary has no cluster on record, so that the
// primary can't be asked.
func TestWithTablespacesStartsOnceWithoutPrimary(t *testing.T) {
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

// TestWithTablespacesMakesDroppedTablespaceDir starts a standby whose
// replay needs a directory that the primary no longer lists.
func TestWithTablespacesMakesDroppedTablespaceDir(t *testing.T) {
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

// madeDirs notes the directories made.
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

// TestFollowTablespacesSkipsWaitWhenDirsExist has a standby whose replay may
// be delayed. A wait for the standby would panic, since there are no sessions.
func TestFollowTablespacesSkipsWaitWhenDirsExist(t *testing.T) {
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

// runningDirs has a running server and every directory.
type runningDirs struct{ dirMachine }

func (runningDirs) ServerRunning(context.Context) (bool, error) { return true, nil }
