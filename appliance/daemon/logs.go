package daemon

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	"pgapp/appliance/home"
)

// daemonLogs writes the end of the daemon's log, and with follow new lines until
// ctx ends.
func (s *server) daemonLogs(ctx context.Context, follow bool, w io.Writer) error {
	args := []string{"-n", "200"}
	if follow {
		args = append(args, "-F")
	}
	cmd := exec.CommandContext(ctx, "tail", append(args, "--", filepath.Join(s.Home, home.Log))...)
	cmd.Stdout = w
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the daemon's log: %w", err)
	}
	return nil
}
