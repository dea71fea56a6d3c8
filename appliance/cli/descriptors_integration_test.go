//go:build integration

package cli_test

import (
	"io"
	"os"
	"testing"
	"time"
)

// TestDaemonKeepsNoDescriptorOfItsStarter starts the daemon and a cluster from
// a process that has pipes open, as bats, CI runners and a script with a lock
// do: their readers see the end when that process has ended.
func TestDaemonKeepsNoDescriptorOfItsStarter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"by a client", []string{"up", "--provider", "local", "--standbys", "1", "--dataset", "none"}},
		{"by hand", []string{"serve"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t).shareTree()
			cmd := b.command(t.Context(), tc.args...)
			var readers []*os.File
			for range 6 { // 3, which the daemon uses too, and others
				r, w, err := os.Pipe()
				b.must(err)
				readers = append(readers, r)
				cmd.ExtraFiles = append(cmd.ExtraFiles, w)
			}
			leave := b.gate()
			b.must(cmd.Start())
			for _, w := range cmd.ExtraFiles {
				b.must(w.Close())
			}
			if tc.args[0] == "up" {
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
				b.ps()
			} else {
				defer func() { _ = cmd.Wait() }()
				for end := time.Now().Add(commandTimeout); b.pid() == 0; {
					if time.Now().After(end) {
						t.Fatal("the daemon doesn't answer")
					}
				}
			}
			leave()
			for i, r := range readers {
				b.must(r.SetReadDeadline(time.Now().Add(commandTimeout)))
				if _, err := io.ReadAll(r); err != nil {
					t.Errorf("the pipe on descriptor %d: %v", 3+i, err)
				}
				b.must(r.Close())
			}
			if tc.args[0] == "serve" {
				b.ok("shutdown")
			}
		})
	}
}
