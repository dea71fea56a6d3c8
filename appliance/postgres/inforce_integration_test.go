//go:build integration

package postgres_test

import (
	"strings"
	"testing"

	"pgapp/appliance/postgres"
)

// TestWaitingForRestartNamesOwnParameters holds apart what the spec set, what
// it set no longer, and what a person set by ALTER SYSTEM.
func TestWaitingForRestartNamesOwnParameters(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	apply := func(preload string) bool {
		t.Helper()
		cfg := c.config(0)
		if preload != "" {
			cfg.Parameters["shared_preload_libraries"] = preload
		}
		must(t, postgres.Configure(t.Context(), m, cfg))
		restart, err := postgres.ReloadAndCheckRestart(t.Context(), m, m.port, c.control(t, 0, "postgres"))
		must(t, err)
		return restart
	}
	waiting := func(want string) {
		t.Helper()
		names, err := postgres.WaitingForRestart(t.Context(), m, m.port)
		must(t, err)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q wait, want %q", got, want)
		}
		inForce, err := postgres.InForce(t.Context(), m, c.config(0))
		must(t, err)
		if inForce != (want == "") {
			t.Errorf("in force: %v while %q wait", inForce, want)
		}
	}
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET max_connections = 120")
	if apply("") {
		t.Error("a parameter of ALTER SYSTEM asks for a restart")
	}
	waiting("")
	const preload = "pg_stat_statements"
	if !apply(preload) {
		t.Error("shared_preload_libraries asks for no restart")
	}
	m.stop(t)
	m.start(t)
	if apply(preload) {
		t.Error("what is in force asks for a restart")
	}
	if !apply("") {
		t.Error("shared_preload_libraries, taken out, asks for no restart")
	}
	waiting("shared_preload_libraries")
	m.stop(t)
	m.start(t)
	if apply("") {
		t.Error("a restart is asked for after the restart")
	}
}
