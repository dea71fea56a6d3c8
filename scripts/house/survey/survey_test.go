package survey

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// write makes a module of the files, each a path and its text.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module house\n\ngo 1.26\n"
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, dir string) map[string]*Room {
	t.Helper()
	rooms, err := Load(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]*Room{}
	for _, r := range rooms {
		byPath[r.Path] = r
	}
	return byPath
}

func TestArrowsRunUpOnlyInCircles(t *testing.T) {
	t.Parallel()
	rooms := load(t, write(t, map[string]string{
		"straight/a.go": "package straight\nfunc a() { b(); c() }\nvar _ = a\n",
		"straight/b.go": "package straight\nfunc b() { c() }\n",
		"straight/c.go": "package straight\nfunc c() {}\n",
		"circle/a.go":   "package circle\nfunc a() { b() }\n",
		"circle/b.go":   "package circle\nfunc b() { a() }\n",
	}))
	for path, want := range map[string][2]int{"straight": {3, 0}, "circle": {2, 1}} {
		arrows := rooms[path].Arrows()
		up := 0
		for _, a := range arrows {
			if a.Up {
				up++
			}
		}
		if got := [2]int{len(arrows), up}; got != want {
			t.Errorf("%s: got %d arrows, %d up, want %v", path, got[0], got[1], want)
		}
	}
}

func TestTypesCountMethods(t *testing.T) {
	t.Parallel()
	rooms := load(t, write(t, map[string]string{
		"a/a.go": `package a
type Small struct{}
func (Small) One() {}
func (*Small) two() {}
type Inner interface{ A(); B() }
type Outer interface{ Inner; C() }
`,
	}))
	got := rooms["a"].Types()
	want := []Type{{"a.Outer", 3, true}, {"a.Inner", 2, true}, {"a.Small", 2, false}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := rooms["a"].Exported(); n != 4 {
		t.Errorf("%d exported names, want Small, One, Inner and Outer", n)
	}
}

func TestConcurrentReadsTestsOfAllTags(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"plain/a.go":       "package plain\n",
		"runs/a.go":        "package runs\nfunc f() { go f() }\n",
		"tagged/a.go":      "package tagged\n",
		"tagged/a_test.go": "//go:build integration\n\npackage tagged\nimport \"sync\"\nvar _ sync.WaitGroup\n",
	})
	got, err := Concurrent(t.Context(), dir)
	if want := []string{"house/runs", "house/tagged"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestUnusedNamesRowsAndImports(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"a/a.go": "package a\nimport _ \"house/b\"\n",
		"b/b.go": "package b\n",
		"scripts/house/table.go": `package house
type room struct { packages string; may []string }
func rooms() []room {
	return []room{{"a", []string{"b", "c/..."}}, {"b", nil}, {"gone", nil}, {"scripts/...", nil}}
}
`,
	})
	table, err := Table(dir)
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := Load(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	got := Unused(table, rooms)
	if want := []string{"a -> c/...", "gone: no package"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
