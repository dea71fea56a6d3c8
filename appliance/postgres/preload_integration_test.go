//go:build integration

package postgres_test

import (
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestPreloadOfMissingLibrary refuses what would break the server or sessions.
func TestPreloadOfMissingLibrary(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "127.0.0.1")
	for _, name := range []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"} {
		for _, value := range []string{"nowhere", "$libdir/nowhere", "/nowhere/lib", `"nowhere"`} {
			err := postgres.CheckPreload(t.Context(), m, map[string]string{name: value})
			if !appliance.IsProblem(err, appliance.ErrPostgresConfig) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s = %s: got %v", name, value, err)
			}
		}
	}
	for _, value := range []string{"", "auto_explain", "pg_stat_statements, $libdir/auto_explain"} {
		must(t, postgres.CheckPreload(t.Context(), m, map[string]string{"session_preload_libraries": value}))
	}
}
