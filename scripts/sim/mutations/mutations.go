// Package mutations breaks the core of a change of primary on purpose, and has the
// simulator find each break.
package mutations

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pgapp/scripts/build/overlay"
)

// Mutation is one text in a file of package ha, and what breaks it.
type Mutation struct {
	Name, File, Old, New string
	// Seed is the first seed that finds the mutation.
	Seed uint64
}

// watch tells whether the mutation is one of failovers that begin by themselves.
func (m Mutation) watch() bool {
	return m.File == "decide.go" || m.File == "others.go" || m.File == "restrain.go"
}

const core = "appliance/ha"

// Find has the simulator look for each mutation in 10,000 seeds.
func Find(ctx context.Context, out io.Writer) error {
	var missed []string
	for _, m := range slices.Concat(All(), Watched()) {
		seed, err := m.Play(ctx, ".", 1, 10_000)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%-62s %-11s seed %d (listed %d)\n", m.Name, m.File, seed, m.Seed)
		if seed == 0 {
			missed = append(missed, m.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(missed, "; "))
	}
	return nil
}

// Play builds the simulator with the mutation, plays the seeds and returns the first
// that fails, 0 if none does. The tree at root stays as it is.
func (m Mutation) Play(ctx context.Context, root string, first, seeds uint64) (uint64, error) {
	dir, err := os.MkdirTemp("", "pgapp-sim-*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "sim")
	edit := overlay.Edit{File: filepath.Join(core, m.File), Old: m.Old, New: m.New}
	if err := overlay.Build(ctx, root, "./scripts/sim", binary, edit); err != nil {
		return 0, fmt.Errorf("mutation %q: %w", m.Name, err)
	}
	play := exec.CommandContext(ctx, binary, "-seed", strconv.FormatUint(first, 10), "-seeds", strconv.FormatUint(seeds, 10), "-watch="+strconv.FormatBool(m.watch())) //nolint:gosec // our own binary
	said, err := play.CombinedOutput()
	if err == nil {
		return 0, nil
	}
	found := regexp.MustCompile(`seed (\d+):`).FindSubmatch(said)
	if found == nil {
		return 0, fmt.Errorf("playing mutation %q: %w: %s", m.Name, err, said)
	}
	return strconv.ParseUint(string(found[1]), 10, 64)
}
