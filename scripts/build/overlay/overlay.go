// Package overlay builds programs from the tree with one text replaced, so that tests can
// show that they find a fault. The tree stays as it is.
package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Edit is a text in a file, which is named from the top of the tree, and what stands in
// its place. The text has to be in the file exactly once.
type Edit struct{ File, Old, New string }

// Build builds the package in the tree at root with the edit, as the program out.
func Build(ctx context.Context, root, pkg, out string, e Edit) error {
	dir, err := os.MkdirTemp("", "pgapp-overlay-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path, err := filepath.Abs(filepath.Join(root, e.File))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), e.Old); n != 1 {
		return fmt.Errorf("%q is %d times in %s, not once", e.Old, n, e.File)
	}
	edited, replacements := filepath.Join(dir, filepath.Base(e.File)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(edited, []byte(strings.Replace(string(text), e.Old, e.New, 1)), 0o600); err != nil {
		return err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: edited}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(replacements, replace, 0o600); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", replacements, "-o", out, pkg) //nolint:gosec // our own arguments
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s with %q in %s: %w: %s", pkg, e.New, e.File, err, text)
	}
	return nil
}
