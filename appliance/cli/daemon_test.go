package cli

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestEndedCountsZombies takes a zombie for ended, as a daemon is in a container whose
// first process reaps nobody.
func TestEndedCountsZombies(t *testing.T) {
	t.Parallel()
	if ended(os.Getpid()) {
		t.Error("this process has ended")
	}
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for end := time.Now().Add(time.Minute); !ended(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a zombie counts as running")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !ended(pid) {
		t.Error("a process that is gone counts as running")
	}
}
