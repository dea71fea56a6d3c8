//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestPreloadOfAMissingLibraryIsRefused: a library that isn't there keeps the
// server from starting, or every session from opening.
func TestPreloadOfAMissingLibraryIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"session_preload_libraries", "shared_preload_libraries"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t).shareTree()
			file := filepath.Join(t.TempDir(), "cluster.yaml")
			set := func(parameters string) {
				t.Helper()
				b.must(os.WriteFile(file, []byte("name: main\nprovider: local\nstandbys: 1\ndataset: none\ndatabase: shop\nparameters: {"+parameters+"}\n"), 0o600))
			}
			refused := func(when string) {
				t.Helper()
				r := b.run("up", "-f", file)
				if r.code != 1 || !strings.Contains(r.err, "error[postgres-config]") || !strings.Contains(r.err, name+" names a missing library: nosuch") {
					t.Fatalf("%s: exit code %d\n%s", when, r.code, r.err)
				}
			}
			leave := b.gate()
			set(name + ": nosuch")
			refused("a new cluster")
			set("")
			b.ok("up", "-f", file)
			leave()
			b.verified()
			set(name + ": 'auto_explain, nosuch'")
			refused("a cluster that runs")
			if p := b.ps(); p.Phase != appliance.PhaseReady || len(p.Spec.Parameters) > 0 {
				t.Errorf("the refused change is on record: %+v", p)
			}
			set(name + ": auto_explain")
			b.ok("up", "-f", file)
			b.verified()
		})
	}
}

// TestHostileDefaults: what a user sets for all sessions is no matter of
// pgapp's own, at creation and later, by parameter, by role and by database.
func TestHostileDefaults(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(file, []byte(`name: main
provider: local
standbys: 1
dataset: none
database: shop
parameters:
  default_transaction_isolation: serializable
  default_transaction_deferrable: "on"
  datestyle: German
  intervalstyle: sql_standard
  bytea_output: escape
  extra_float_digits: "-15"
  quote_all_identifiers: "on"
  statement_timeout: 100ms
`), 0o600))
	leave := b.gate()
	b.ok("up", "-f", file)
	leave()
	b.verified()
	for _, sql := range []string{
		"ALTER ROLE ALL SET default_transaction_isolation = 'serializable'",
		"ALTER ROLE ALL SET search_path = nowhere",
		"ALTER ROLE pgapp SET idle_session_timeout = '1ms'",
		"ALTER DATABASE postgres SET default_transaction_read_only = on",
		"ALTER DATABASE shop SET default_transaction_read_only = on",
	} {
		b.ok("psql", "--role", "admin", "--", "-c", sql)
	}
	b.verified()
	b.ok("stop")
	b.ok("start")
	b.verified()
	b.ok("scale", "--standbys", "2")
	b.verified()
}

// TestUpTakesBackAConfigurationThatShutsOut: what leaves pgapp no session, such as a library that
// has gone since, can be taken back by up, which has none either.
func TestUpTakesBackAConfigurationThatShutsOut(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	dir, err := os.MkdirTemp("/var/tmp", "pgapp-library-") // which the servers' user can reach
	b.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.must(os.Chmod(dir, 0o755))
	library := filepath.Join(dir, "explain.so")
	code, err := os.ReadFile(filepath.Join(pgbin(t), "../lib/auto_explain.so"))
	b.must(err)
	b.must(os.WriteFile(library, code, 0o755))
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	set := func(parameters string) {
		t.Helper()
		b.must(os.WriteFile(file, []byte("name: main\nprovider: local\nstandbys: 1\ndataset: none\ndatabase: shop\nparameters: {"+parameters+"}\n"), 0o600))
	}
	leave := b.gate()
	set("session_preload_libraries: " + library)
	b.ok("up", "-f", file)
	leave()
	b.verified()
	b.must(os.Remove(library))
	if r := b.run("verify"); r.code != 3 || !strings.Contains(r.out, "could not access file") {
		t.Errorf("a library that has gone: exit code %d\n%s", r.code, r.out)
	}
	set("")
	b.ok("up", "-f", file)
	b.verified()
}
