//go:build integration

package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme runs the README's blocks that are marked "sh test", in order and
// as they stand there. A line "# → x" promises what the command before prints.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: run scripts/test as root, or apt-get install %s", tool, tool)
		}
	}
	script, promised := readmeBlocks(t)
	b := newBox(t).shareTree()
	t.Cleanup(func() {
		kept, _ := filepath.Glob(filepath.Join(b.home, "state.db.replaced-*"))
		for _, path := range kept {
			b.must(os.Remove(path))
		}
	})
	dir := t.TempDir()
	b.must(os.Symlink(b.bin, filepath.Join(dir, "pgapp")))
	b.must(os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o600))
	leave := b.gate()
	cmd := b.tool("bash", "-euo", "pipefail", "script")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+b.home, "PGAPP_LISTEN=127.0.0.1:0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	leave()
	if err != nil {
		t.Fatalf("%v\n%s%s\n%s", err, out, errs.String(), b.log())
	}
	if string(out) != promised {
		t.Errorf("the README's commands print\n%s\nand it promises\n%s", out, promised)
	}
}

// readmeBlocks returns the commands, and what they have to print.
func readmeBlocks(t *testing.T) (script, promised string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh test\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Fatalf("the README has only %d blocks to test", len(blocks))
	}
	for _, m := range blocks {
		script += m[1]
		for line := range strings.Lines(m[1]) {
			if want, ok := strings.CutPrefix(line, "# → "); ok {
				promised += want
			}
		}
	}
	return script, promised
}
