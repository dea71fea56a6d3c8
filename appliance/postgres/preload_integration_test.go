//go:build integration

package postgres_test

import (
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestCheckFilesRefusesMissingLibrary refuses what would break the server or sessions.
func TestCheckFilesRefusesMissingLibrary(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "127.0.0.1")
	for _, name := range []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"} {
		for _, value := range []string{"nowhere", "$libdir/nowhere", "/nowhere/lib", `"nowhere"`} {
			err := postgres.CheckFiles(t.Context(), m, map[string]string{name: value})
			if !appliance.IsProblem(err, appliance.ErrPostgresConfig) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s = %s: got %v", name, value, err)
			}
		}
	}
	for _, value := range []string{"", "auto_explain", "pg_stat_statements, $libdir/auto_explain"} {
		must(t, postgres.CheckFiles(t.Context(), m, map[string]string{"session_preload_libraries": value}))
	}
}

// TestCheckFilesRefusesMissingCertificate: a reload would take ssl = on, and the next
// start fail.
func TestCheckFilesRefusesMissingCertificate(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "127.0.0.1")
	for _, value := range []string{"on", "TRUE", "y", "1"} {
		err := postgres.CheckFiles(t.Context(), m, map[string]string{"ssl": value})
		if !appliance.IsProblem(err, appliance.ErrPostgresConfig) || !strings.Contains(err.Error(), "server.crt and ") {
			t.Errorf("ssl = %s: got %v", value, err)
		}
	}
	here := "/proc/self/status" // any file that each user can read
	must(t, postgres.CheckFiles(t.Context(), m, map[string]string{"ssl": "on", "ssl_cert_file": here, "ssl_key_file": here}))
	for _, value := range []string{"off", "o", "f", ""} {
		must(t, postgres.CheckFiles(t.Context(), m, map[string]string{"ssl": value}))
	}
}
