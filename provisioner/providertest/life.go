package providertest

import (
	"testing"

	"pgapp/appliance"
)

// testForeign checks that a foreign object in a member's place stays unchanged.
func testForeign(t *testing.T, f Fixture) {
	c := f.cluster(t, "stranger", 2)
	untouched := f.PutForeign(t, c, c.Members[1])
	failed := false
	for _, s := range f.Provider.CreateSteps(c, c.Members) {
		err := s.Do(f.context(t), ignore)
		if err == nil {
			continue
		}
		failed = true
		if !appliance.IsProblem(err, appliance.ErrDataDirForeign) && !appliance.IsProblem(err, appliance.ErrForeignObject) {
			t.Errorf("step %s: %v, want %s or %s", s.ID, err, appliance.ErrDataDirForeign, appliance.ErrForeignObject)
		}
		if s.Member != c.Members[1].Name {
			t.Errorf("step %s of member %q failed, want one of %q", s.ID, s.Member, c.Members[1].Name)
		}
	}
	if !failed {
		t.Error("no step noticed the foreign object")
	}
	untouched(t)
	f.destroy(t, c)
	untouched(t)
	f.destroy(t, c)
	untouched(t)
}

// testLife creates, uses and destroys one cluster.
func testLife(t *testing.T, f Fixture) {
	c := f.cluster(t, "life", 2)
	t.Cleanup(func() { f.destroy(t, c) })
	m := c.Members[0]
	mc := f.Provider.Machine(c, m)

	create := f.Provider.CreateSteps(c, c.Members)
	checkPlan(t, create)
	for _, m := range c.Members {
		requireStep(t, create, appliance.StepMachine, m.Name)
	}
	if running, err := mc.ServerRunning(f.context(t)); err != nil || running {
		t.Errorf("ServerRunning() = %v, %v before there is a machine", running, err)
	}
	f.perform(t, create)

	// The parts run in sequence on the same machine.
	t.Run("Commands", func(t *testing.T) { testCommands(t, f, mc) })
	t.Run("Files", func(t *testing.T) { testFiles(t, f, mc) })
	t.Run("Server", func(t *testing.T) { testServer(t, f, c, m) })
	t.Run("Watch", func(t *testing.T) { testWatch(t, f, c, m) })
	t.Run("Power", func(t *testing.T) { testPower(t, f, c, m) })

	destroy := f.Provider.DestroySteps(c, c.Members)
	checkPlan(t, destroy)
	for _, m := range c.Members {
		requireStep(t, destroy, appliance.StepRemove, m.Name)
	}
	f.perform(t, destroy)
	if left := f.Leftovers(t, c); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := mc.Fence(f.context(t)); err != nil {
		t.Errorf("Fence of a member that is gone: %v", err)
	}
}

// testPower stops and starts the machine and checks that the data is kept.
func testPower(t *testing.T, f Fixture, c appliance.Cluster, m appliance.Member) {
	s := server{t: t, f: f, c: c, m: m, mc: f.Provider.Machine(c, m)}
	s.start()
	s.sql("CREATE TABLE kept AS SELECT 42 AS n")
	s.stop(appliance.StopFast)
	for range 2 {
		if err := f.Provider.StopMachine(f.context(t), c, m, ignore); err != nil {
			t.Fatalf("StopMachine: %v", err)
		}
	}
	for range 2 {
		if err := f.Provider.StartMachine(f.context(t), c, m, ignore); err != nil {
			t.Fatalf("StartMachine: %v", err)
		}
	}
	s.start()
	if got := s.sql("SELECT n FROM kept"); got != "42" {
		t.Errorf("after a restart of the machine: got %q, want 42", got)
	}
}
