package house

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is how long a file may be. One that is longer says why in the
// comment at its top, with the words "400 lines" in it.
const maxLines = 400

// topLevel is what may stand at the top of the tree.
func topLevel() []string {
	return []string{
		".ci", ".gitattributes", ".gitignore", ".golangci.yml", "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
		"api", "appliance", "embed", "go.mod", "go.sum", "main.go", "provisioner", "scripts", "store",
	}
}

// tracked lists the files of the tree: those that git has or would take, or
// where there is no git all but what the build makes.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err == nil {
		return slices.DeleteFunc(strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), func(f string) bool {
			_, err := os.Lstat(filepath.Join(root, f)) // deleted, but not yet in the index
			return err != nil
		})
	}
	t.Logf("git does not answer (%v): looking at all files", err)
	var files []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err == nil && d.IsDir() && (rel == ".git" || rel == ".cache") {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() && rel != "pgapp" {
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTopLevelIsFixed(t *testing.T) {
	t.Parallel()
	for _, f := range tracked(t) {
		top, _, _ := strings.Cut(f, "/")
		if !slices.Contains(topLevel(), top) {
			t.Errorf("%s: %q does not belong at the top level", f, top)
		}
	}
}

func TestFilesAreSmall(t *testing.T) {
	t.Parallel()
	for _, f := range tracked(t) {
		data, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			continue // a link to nowhere, or gone since
		}
		if !strings.HasSuffix(f, ".go") && !bytes.HasPrefix(data, []byte("#!")) {
			continue
		}
		if n := bytes.Count(data, []byte("\n")); n > maxLines && !saysWhy(data) {
			t.Errorf("%s has %d lines, more than %d, and its first comment does not say why", f, n, maxLines)
		}
	}
}

// saysWhy looks for the reason in the comment lines that the file begins with.
func saysWhy(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) && !bytes.HasPrefix(line, []byte("#")) {
			return false
		}
		if bytes.Contains(line, []byte("400 lines")) {
			return true
		}
	}
	return false
}

func TestOnePackageComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		files := p.GoFiles
		if len(files) == 0 {
			files = slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		}
		if len(files) == 0 {
			continue // only files of another build tag
		}
		var with []string
		for _, f := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Error(err)
				continue
			}
			if parsed.Doc != nil {
				with = append(with, f)
				checkComment(t, p, f, parsed.Doc.Text())
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments %q, not one", p.ImportPath, len(with), with)
		}
	}
}

func checkComment(t *testing.T, p listed, file, text string) {
	t.Helper()
	name := p.Name
	if len(p.GoFiles)+len(p.TestGoFiles) == 0 {
		name += "_test"
	}
	want := "Package " + name + " "
	if name == "main" {
		want = "Command "
	}
	if !strings.HasPrefix(text, want) {
		t.Errorf("%s: the comment of %s begins with %.30q, not with %q", p.ImportPath, file, text, want)
	}
}
