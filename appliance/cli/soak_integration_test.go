//go:build integration

package cli_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoakPlaysEachKindOfRound plays a few rounds of what make soak plays for longer.
func TestSoakPlaysEachKindOfRound(t *testing.T) {
	t.Parallel()
	b := newBox(t) // for its network
	soak := filepath.Join(t.TempDir(), "soak")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", soak, "./scripts/soak")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the soak: %v\n%s", err, out)
	}
	out, err := b.tool(soak, "-bin", b.bin, "-dir", homesDir(), "-rounds", "2", "-unreadable", "1").CombinedOutput()
	if err != nil {
		t.Fatalf("soak: %v\n%s", err, out)
	}
	for _, want := range []string{"killed primary: 2 rounds, no acknowledged row lost", "could not be read"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("soak says nothing of %q:\n%s", want, out)
		}
	}
	t.Logf("%s", out)
}
