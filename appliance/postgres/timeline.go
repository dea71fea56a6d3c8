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

// Ancestor is a timeline that another one descends from.
type Ancestor struct {
	Timeline uint32
	// End is the position at which the timeline was left.
	End string
}

// TimelineHistory reads which timelines the member's given one descends from, the
// oldest first. Without a history file there are none: timeline 1 has no file, and
// a standby fetches one only when it needs it.
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

// parseHistory reads a history file (documentation 25.3.6): lines of a timeline,
// a position and a reason, and comments.
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
