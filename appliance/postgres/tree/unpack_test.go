package tree_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"pgapp/appliance/postgres/tree"
)

// mustUnpack returns the root of the unpacked tree.
func mustUnpack(t *testing.T, archive fs.FS, dir string) string {
	t.Helper()
	bin, version, err := tree.Unpack(t.Context(), archive, dir)
	if err != nil {
		t.Fatal(err)
	}
	if version != "17.12" {
		t.Errorf("got version %q, want 17.12", version)
	}
	root, ok := strings.CutSuffix(bin, "/"+binPath)
	if !ok || !filepath.IsAbs(root) {
		t.Fatalf("got programs in %q", bin)
	}
	return root
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// onlyTrees fails if dir holds anything but the lock and complete trees.
func onlyTrees(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, entry := range entries {
		if entry.Name() == ".lock" {
			continue
		}
		got++
		if !strings.HasPrefix(entry.Name(), "17.") {
			t.Errorf("%s was left", entry.Name())
		}
	}
	if got != want {
		t.Errorf("got %d entries, want %d", got, want)
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "trees")
	root := mustUnpack(t, archiveOf(t, usual(t)), dir)
	onlyTrees(t, dir, 1)

	for name, want := range map[string]fs.FileMode{
		"":                  fs.ModeDir | 0o755,
		"usr":               fs.ModeDir | 0o755,
		"lib":               fs.ModeDir | 0o755,
		postgres:            0o755,
		binPath + "/script": 0o755,
		"lib/libpq.so.5.17": 0o644,
		"usr/share/empty":   0o644,
		"lib/libpq.so.5":    0o644, // through the link
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != want {
			t.Errorf("mode of %q is %v, want %v", name, info.Mode(), want)
		}
	}
	if got := read(t, root, "lib/libpq.so.5"); got != "not really a library" {
		t.Errorf("the link leads to %q", got)
	}
	server := read(t, root, postgres)
	if got, want := interpreter(t, []byte(server)), root+"/lib/ld.so"; got != want {
		t.Errorf("the server's loader is %q, want %q", got, want)
	}
	if !strings.HasSuffix(server, "after") || strings.Contains(server, placeholder) {
		t.Error("more or less than the loader's path was overwritten")
	}
	if got := interpreter(t, []byte(read(t, root, "lib/libc.so.6"))); got != "/lib64/ld-linux-x86-64.so.2" {
		t.Errorf("the C library's loader became %q", got)
	}
}

// TestUnpackAgain says when a tree is used as it is, and when it is made anew.
func TestUnpackAgain(t *testing.T) {
	t.Parallel()
	otherBoot := func(t *testing.T, root string) {
		marker := map[string]any{}
		if err := json.Unmarshal([]byte(read(t, root, ".complete")), &marker); err != nil {
			t.Fatal(err)
		}
		marker["boot_id"] = "an earlier boot"
		raw, err := json.Marshal(marker)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, ".complete"), string(raw))
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, root string)
		anew   bool
	}{
		"untouched":    {func(*testing.T, string) {}, false},
		"rebooted":     {otherBoot, false},
		"no marker":    {func(t *testing.T, root string) { remove(t, root, ".complete") }, true},
		"empty marker": {func(t *testing.T, root string) { write(t, filepath.Join(root, ".complete"), "") }, true},
		"a file less":  {func(t *testing.T, root string) { remove(t, root, "lib/libc.so.6") }, true},
		"a file cut":   {func(t *testing.T, root string) { write(t, filepath.Join(root, postgres), "") }, true},
		"a file swapped for a link": {func(t *testing.T, root string) {
			remove(t, root, "lib/libc.so.6")
			if err := os.Symlink("/etc/passwd", filepath.Join(root, "lib/libc.so.6")); err != nil {
				t.Fatal(err)
			}
		}, true},
		"other content of the same size after a reboot": {func(t *testing.T, root string) {
			write(t, filepath.Join(root, "lib/libpq.so.5.17"), "really not a library")
			otherBoot(t, root)
		}, true},
		"a file in the tree's place": {func(t *testing.T, root string) {
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			write(t, root, "in the way")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			archive := archiveOf(t, usual(t))
			root := mustUnpack(t, archive, dir)
			// Held open, so that its inode's number goes to no other.
			held, err := os.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = held.Close() }()
			before, err := held.Stat()
			if err != nil {
				t.Fatal(err)
			}
			// What a process that died while unpacking leaves.
			if err := os.MkdirAll(filepath.Join(dir, ".unpacking-1", "lib"), 0o700); err != nil {
				t.Fatal(err)
			}
			c.damage(t, root)
			mustUnpack(t, archive, dir)
			after, err := os.Stat(root)
			if err != nil {
				t.Fatal(err)
			}
			if anew := !os.SameFile(before, after); anew != c.anew {
				t.Errorf("made anew: %v, want %v", anew, c.anew)
			}
			if got := read(t, root, "lib/libpq.so.5.17"); got != "not really a library" {
				t.Errorf("the content is %q", got)
			}
			if c.anew {
				onlyTrees(t, dir, 1)
			}
			// The marker of a rebooted machine was renewed, or that of a new tree written.
			if strings.Contains(read(t, root, ".complete"), "an earlier boot") {
				t.Error("the contents would be read at each start")
			}
		})
	}
}

func TestUnpackMovedTree(t *testing.T) {
	t.Parallel()
	archive := archiveOf(t, usual(t))
	parent := t.TempDir()
	mustUnpack(t, archive, filepath.Join(parent, "old"))
	if err := os.Rename(filepath.Join(parent, "old"), filepath.Join(parent, "new")); err != nil {
		t.Fatal(err)
	}
	root := mustUnpack(t, archive, filepath.Join(parent, "new"))
	if got, want := interpreter(t, []byte(read(t, root, postgres))), root+"/lib/ld.so"; got != want {
		t.Errorf("the server's loader is %q, want %q", got, want)
	}
}

func TestUnpackKeepsOtherVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustUnpack(t, archiveOf(t, usual(t)), dir)
	second := mustUnpack(t, archiveOf(t, append(usual(t), entry{name: "usr/more", mode: 0o644})), dir)
	if first == second {
		t.Fatal("two archives share a tree")
	}
	onlyTrees(t, dir, 2)
}

func TestUnpackManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive := archiveOf(t, usual(t))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			bin, _, err := tree.Unpack(t.Context(), archive, dir)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	onlyTrees(t, dir, 1)
}

func TestUnpackHostileArchive(t *testing.T) {
	t.Parallel()
	for name, hostile := range map[string][]entry{
		"leads up":             {{name: "../evil", body: "x", mode: 0o644}},
		"leads up further in":  {{name: "usr/../../evil", body: "x", mode: 0o644}},
		"absolute":             {{name: "/tmp/evil", body: "x", mode: 0o644}},
		"directory leads up":   {{name: "../evil", kind: tar.TypeDir}},
		"absolute link":        {{name: "evil", link: "/etc", kind: tar.TypeSymlink}},
		"link leads up":        {{name: "usr/evil", link: "../../..", kind: tar.TypeSymlink}},
		"writes through links": {{name: "a", link: "usr", kind: tar.TypeSymlink}, {name: "a/evil", body: "x", mode: 0o644}},
		"replaces by link":     {{name: "a", link: "usr/share/empty", kind: tar.TypeSymlink}, {name: "a", body: "x", mode: 0o644}},
		"same name twice":      {{name: postgres, body: "x", mode: 0o755}},
		"file as directory":    {{name: postgres + "/evil", body: "x", mode: 0o755}},
		"hard link":            {{name: "evil", link: postgres, kind: tar.TypeLink}},
		"device":               {{name: "evil", kind: tar.TypeChar}},
		"pipe":                 {{name: "evil", kind: tar.TypeFifo}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir := filepath.Join(parent, "trees")
			_, _, err := tree.Unpack(t.Context(), archiveOf(t, append(usual(t), hostile...)), dir)
			if err == nil {
				t.Fatal("it was unpacked")
			}
			onlyTrees(t, dir, 0)
			if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
				t.Errorf("got %v beside the trees (%v)", entries, err)
			}
		})
	}
}

func TestUnpackDamagedArchive(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, usual(t))
	packed := pack(t, raw)
	noise := []byte(strings.Repeat("no archive ", 100))
	for name, c := range map[string]struct {
		packed []byte
		change func(*tree.Manifest)
		want   string
	}{
		"other hash":          {packed, func(m *tree.Manifest) { m.SHA256 = strings.Repeat("0", 64) }, "SHA-256"},
		"cut":                 {packed[:len(packed)/2], nil, ""},
		"cut in hash":         {packed[:len(packed)/2], func(m *tree.Manifest) { *m = manifestFor(packed, len(raw), nil) }, "SHA-256"},
		"a byte more":         {append(append([]byte{}, packed...), 0), func(m *tree.Manifest) { *m = manifestFor(packed, len(raw), nil) }, "SHA-256"},
		"no S2":               {noise, nil, ""},
		"no tar":              {pack(t, noise), nil, ""},
		"empty":               {nil, func(m *tree.Manifest) { m.Size = 1 }, ""},
		"tar cut":             {pack(t, raw[:1500]), nil, ""},
		"bigger than it says": {packed, func(m *tree.Manifest) { m.UnpackedSize = 1000 }, ""},
		"no server":           {pack(t, tarOf(t, nil)), nil, "no PostgreSQL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := filesOf(t, manifestFor(c.packed, len(raw), c.change), c.packed)
			_, _, err := tree.Unpack(t.Context(), files, dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			onlyTrees(t, dir, 0)
		})
	}
}

func TestUnpackManifest(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, usual(t))
	packed := pack(t, raw)
	for name, change := range map[string]func(*tree.Manifest){
		"version leads out":  func(m *tree.Manifest) { m.Version = "../17.12" },
		"no version":         func(m *tree.Manifest) { m.Version = "" },
		"short hash":         func(m *tree.Manifest) { m.SHA256 = "00" },
		"hash leads out":     func(m *tree.Manifest) { m.SHA256 = strings.Repeat("../x", 16) },
		"no size":            func(m *tree.Manifest) { m.Size = 0 },
		"interpreter is out": func(m *tree.Manifest) { m.Interpreter = "../ld.so" },
		"no placeholder":     func(m *tree.Manifest) { m.PlaceholderPrefix = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "trees")
			if _, _, err := tree.Unpack(t.Context(), filesOf(t, manifestFor(packed, len(raw), change), packed), dir); err == nil {
				t.Error("it was unpacked")
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was created: %v", err)
			}
		})
	}
}

func TestUnpackAbsent(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, usual(t))
	packed := pack(t, raw)
	for name, files := range map[string]fs.FS{
		"nil":             nil,
		"empty":           fstest.MapFS{},
		"never built":     fstest.MapFS{"tree/README": {Data: []byte("x")}},
		"no archive":      fstest.MapFS{"tree/manifest.json": {Data: []byte("{}")}},
		"no manifest":     fstest.MapFS{"pgtree.tar.s2": {Data: packed}},
		"other processor": filesOf(t, manifestFor(packed, len(raw), func(m *tree.Manifest) { m.Arch = "vax" }), packed),
	} {
		if _, _, err := tree.Unpack(t.Context(), files, filepath.Join(t.TempDir(), "trees")); !errors.Is(err, tree.ErrAbsent) {
			t.Errorf("%s: got %v, want ErrAbsent", name, err)
		}
	}
}

func TestUnpackCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, _, err := tree.Unpack(ctx, archiveOf(t, usual(t)), dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	onlyTrees(t, dir, 0)
}

// TestUnpackLongPath meets the limit of the placeholder's length.
func TestUnpackLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 250), strings.Repeat("d", 250))
	_, _, err := tree.Unpack(t.Context(), archiveOf(t, usual(t)), dir)
	if err == nil || !strings.Contains(err.Error(), "longer than the 513 bytes") {
		t.Errorf("got %v", err)
	}
	onlyTrees(t, dir, 0)
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, parts ...string) {
	t.Helper()
	if err := os.Remove(filepath.Join(parts...)); err != nil {
		t.Fatal(err)
	}
}
