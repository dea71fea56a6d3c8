//go:build integration

package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestWriteTree(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	if os.Geteuid() == 0 {
		p = newTestProvider(t, "home")
	}
	c := testCluster("node0")
	mustDo(t, p.CreateSteps(c, c.Members))
	m := p.machine(c, c.Members[0])
	i, err := p.account.lookup()
	if err != nil {
		t.Fatal(err)
	}
	errFile := errors.New("unreadable")
	tree := func(files ...appliance.TreeFile) appliance.TreeFiles {
		return func(yield func(appliance.TreeFile, error) bool) {
			for _, f := range files {
				f.Content = strings.NewReader(f.Name)
				err := error(nil)
				if f.Name == "broken" {
					err = errFile
				}
				if !yield(f, err) {
					return
				}
			}
		}
	}
	dir := filepath.Join(m.dir, "copy")
	err = m.WriteTree(testContext(t), dir, tree(
		appliance.TreeFile{Name: "first"}, appliance.TreeFile{Name: "a", Dir: true}, appliance.TreeFile{Name: "a/b", Dir: true},
		appliance.TreeFile{Name: "a/b/segment", Size: 1 << 20}, appliance.TreeFile{Name: "a/c"}, appliance.TreeFile{Name: "last"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"": 0, "a/b": 0, "first": 5, "a/b/segment": 1 << 20, "a/c": 3, "last": 4} {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o600)
		if st.IsDir() {
			want = fs.ModeDir | 0o700
		} else if st.Size() != size {
			t.Errorf("%s has %d bytes, want %d", name, st.Size(), size)
		}
		if st.Mode() != want || ownerOf(st) != i.uid {
			t.Errorf("%s: mode %v of user %d", name, st.Mode(), ownerOf(st))
		}
	}
	for name, files := range map[string]appliance.TreeFiles{
		"there already": tree(), "outside": tree(appliance.TreeFile{Name: "../out/side"}), "broken": tree(appliance.TreeFile{Name: "broken"}),
	} {
		at := dir
		if name != "there already" {
			at = filepath.Join(m.dir, name)
		}
		if err := m.WriteTree(testContext(t), at, files); err == nil || name == "broken" && !errors.Is(err, errFile) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.WriteTree(ended, filepath.Join(m.dir, "ended"), tree(appliance.TreeFile{Name: "x"})); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}
