// Package overlay builds programs from the tree with texts replaced and files added, so
// that tests can show that they find a fault. The tree stays as it is.
package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Edit is a text in a file, which is named from the top of the tree, and what stands in
// its place. The text has to be in the file exactly once.
type Edit struct{ File, Old, New string }

// Apply returns the text of the file in the tree at root with the edit.
func (e Edit) Apply(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, e.File)) //nolint:gosec // of our own tree
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), e.Old); n != 1 {
		return "", fmt.Errorf("%q is %d times in %s, not once", e.Old, n, e.File)
	}
	return strings.Replace(string(text), e.Old, e.New, 1), nil
}

// Build builds the package in the tree at root with the files, which are named from the
// top of the tree, as the program out. The package itself may be one of them.
func Build(ctx context.Context, root, pkg, out string, files map[string]string) error {
	dir, err := os.MkdirTemp("", "pgapp-overlay-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	replace := map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		replace[filepath.Join(root, name)] = file
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return err
	}
	replacements := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(replacements, list, 0o600); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", replacements, "-o", out, pkg) //nolint:gosec // our own arguments
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, text)
	}
	return nil
}
