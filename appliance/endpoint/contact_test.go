package endpoint

import (
	"os"
	"testing"

	"pgapp/appliance"
)

// TestContactKnowsWhetherTheProcessRuns kills the process, has another one start, and has
// that one hand over to a third.
func TestContactKnowsWhetherTheProcessRuns(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	c := &Contact{Client: p.client}
	pid := 0
	lives := func(want bool, when string) {
		t.Helper()
		if got := c.Lives(pid); got != want {
			t.Errorf("%s: lives is %t", when, got)
		}
	}
	asked := func() {
		t.Helper()
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pid = s.PID
	}
	ensure := func(build string) {
		t.Helper()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Ensure(t.Context(), Program{Home: p.home, Build: build, Routes: appliance.Routes{}, Argv: []string{self, "endpoint-process", p.home, build}}); err != nil {
			t.Fatal(err)
		}
	}
	lives(false, "before the start")
	ensure("one")
	lives(false, "not asked yet")
	asked()
	asked()
	lives(true, "asked")
	if err := p.client.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	lives(false, "killed")
	ensure("one")
	asked()
	lives(true, "another process")
	ensure("two")
	lives(false, "handed over, not asked yet")
	was := pid
	asked()
	lives(true, "after the hand-over")
	if c.Lives(was) {
		t.Error("the process that has handed over lives")
	}
	if err := c.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	lives(false, "the third was killed")
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("a killed process said its status")
	}
	lives(false, "asked in vain")
}
