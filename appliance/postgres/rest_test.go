package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestoreCommandTakesTheTimelineOnly runs the command as PostgreSQL does, with a directory
// whose name has what a shell and PostgreSQL read in their own ways.
func TestRestoreCommandTakesTheTimelineOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's 100%f $HOME")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"0000000A0000000000000006", "0000000B0000000000000006", "0000000B.history", "0000000A.history"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, taken := range map[string]bool{
		"0000000A0000000000000006": true,
		"0000000A.history":         true,
		"0000000A0000000000000007": false, // it is not there
		"0000000B0000000000000006": false,
		"0000000B.history":         false,
	} {
		to := filepath.Join(t.TempDir(), "RECOVERYXLOG")
		text := strings.NewReplacer("%%", "%", "%f", name, "%p", to).Replace(Restore{From: dir, Timeline: 10}.command())
		err := exec.CommandContext(t.Context(), "sh", "-c", text).Run() // #nosec G204 -- the command under test
		got, _ := os.ReadFile(to)
		if (err == nil) != taken || taken && string(got) != name {
			t.Errorf("%s: %v with %q, want that it is taken: %t", name, err, got, taken)
		}
	}
}
