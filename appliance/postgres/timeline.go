package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Ancestor is a timeline from which another one descends.
type Ancestor struct {
	Timeline uint32
	// End is the position at which the next timeline begins.
	End string
}

// TimelineHistory reads the member's list of the timeline's ancestors, oldest
// first. Without a history file the list is empty: timeline 1 has no file, and a
// standby fetches a file only when needed.
func TimelineHistory(ctx context.Context, sh Shell, timeline uint32) ([]Ancestor, error) {
	file := path.Join(sh.Layout().DataDir, "pg_wal", fmt.Sprintf("%08X.history", timeline))
	text, err := sh.ReadFile(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the history of timeline %d: %w", timeline, err)
	}
	return parseHistory(string(text)), nil
}

// parseHistory reads a history file (documentation 25.3.6): comments, and lines
// of a timeline, a position and a reason.
func parseHistory(text string) []Ancestor {
	var out []Ancestor
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[0], 10, 32); err == nil {
			out = append(out, Ancestor{Timeline: uint32(n), End: f[1]})
		}
	}
	return out
}

// Descends tells whether the timeline is one of the ancestors.
func Descends(ancestors []Ancestor, timeline uint32) bool {
	for _, a := range ancestors {
		if a.Timeline == timeline {
			return true
		}
	}
	return false
}
