package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"pgapp/appliance"
)

// Shell is the part of [appliance.Machine] that this package needs.
type Shell interface {
	Layout() appliance.Layout
	Run(ctx context.Context, c appliance.Command) (appliance.Result, error)
	WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error
	ReadFile(ctx context.Context, path string) ([]byte, error)
}

func program(l appliance.Layout, name string) string { return path.Join(l.BinDir, name) }

// script runs a constant script; no shell parses the arguments. One script
// replaces several commands, since a round trip to a guest costs more than they.
func script(ctx context.Context, sh Shell, text string, args ...string) (string, error) {
	res, err := sh.Run(ctx, appliance.Command{Argv: append([]string{"/bin/sh", "-c", text, "sh"}, args...)})
	return strings.TrimSpace(string(res.Stdout)), err
}

// failure wraps the error and gives it the id, unless it is a problem already,
// an ended context, or an error of the operating system with its own id.
func failure(id appliance.ErrorID, err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	var p *appliance.Problem
	if errors.As(err, &p) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if host := appliance.AsProblem(err); host.ID != appliance.ErrInternal {
		return fmt.Errorf("%s: %w", what, err)
	}
	var exit *appliance.ExitError
	if errors.As(err, &exit) {
		return appliance.NewProblem(id, "%s: %w", what, err).WithDetail(appliance.LastLines(exit.Stderr, 20))
	}
	return appliance.NewProblem(id, "%s: %w", what, err)
}
