// Package build_test tests the build scripts where that needs no network.
package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs a build script and returns its standard output and whether it succeeded.
func script(t *testing.T, name string, env []string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./"+name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	return string(out), err == nil
}

func TestDebianSources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list, deb822, mirror string
		want                 []string // URI and suite; empty: no mirror
	}{
		"none": {},
		"one line": {
			list: "# deb http://commented.test/debian bookworm main\n" +
				"deb cdrom:[Debian] bookworm main\n" +
				"deb [arch=amd64 signed-by=/x.gpg] http://third.test bookworm main\n" +
				"deb [ trusted=yes ] http://a.test/debian/ bookworm main contrib # near\n" +
				"deb-src http://a.test/debian bookworm main\n" +
				"deb http://a.test/debian bookworm-updates main\n" +
				"deb http://b.test/debian-security bookworm-security main\n",
			want: []string{"http://a.test/debian/ trixie", "http://a.test/debian trixie-updates", "http://b.test/debian-security trixie-security"},
		},
		"deb822": {
			deb822: "# comment\nTypes: deb deb-src\nURIs: http://a.test/debian\nSuites: trixie\n trixie-updates\n" +
				"Components: contrib\n main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n" +
				"Enabled: no\nTypes: deb\nURIs: http://off.test/debian-security\nSuites: trixie-security\nComponents: main\n",
			want: []string{"http://a.test/debian trixie", "http://a.test/debian trixie-updates"},
		},
		"old security name":  {list: "deb http://a.test/debian buster main\ndeb http://a.test/debian-security buster/updates main\n", want: []string{"http://a.test/debian trixie", "http://a.test/debian-security trixie-security"}},
		"security alone":     {list: "deb http://a.test/debian-security bookworm-security main\n"},
		"other distribution": {deb822: "Types: deb\nURIs: http://a.test/ubuntu\nSuites: noble noble-updates\nComponents: main\n"},
		"source only":        {list: "deb-src http://a.test/debian bookworm main\n"},
		"no main component":  {list: "deb http://a.test/linux/debian bookworm stable\n"},
		"mirror by hand":     {list: "deb http://a.test/debian bookworm main\n", mirror: "http://m.test/debian", want: []string{"http://m.test/debian trixie", "http://m.test/debian trixie-updates"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			etc := t.TempDir()
			write(t, filepath.Join(etc, "sources.list"), c.list)
			write(t, filepath.Join(etc, "sources.list.d", "debian.sources"), c.deb822)
			out, ok := script(t, "debian-sources", []string{"PGAPP_APT_ETC=" + etc, "PGAPP_APT_MIRROR=" + c.mirror}, "trixie")
			if ok != (len(c.want) > 0) {
				t.Errorf("success is %v", ok)
			}
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if out == "" {
				lines = nil
			}
			if len(lines) != len(c.want) {
				t.Fatalf("got\n%s\nwant %q", out, c.want)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, "deb [arch=amd64 target=Packages") || !strings.HasSuffix(line, "] "+c.want[i]+" main") {
					t.Errorf("got %q, want %q", line, c.want[i])
				}
			}
		})
	}
}

// TestUnable says what the script does where it can't build: it is no error
// unless the tree is required.
func TestUnable(t *testing.T) {
	t.Parallel()
	repo := t.TempDir() // a repository of its own: the real one may hold an archive
	for _, name := range []string{"pgtree", "debian-sources"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(repo, "scripts", "build", name), string(raw))
	}
	run := func(args ...string) (string, bool) {
		args = append([]string{filepath.Join(repo, "scripts", "build", "pgtree")}, args...)
		cmd := exec.CommandContext(t.Context(), "bash", args...)
		// Nothing listens on port 1.
		cmd.Env = append(os.Environ(), "PGAPP_APT_MIRROR=http://127.0.0.1:1/debian", "PGAPP_CACHE="+filepath.Join(repo, "cache"),
			"http_proxy=", "APT_CONFIG=/dev/null")
		out, err := cmd.CombinedOutput()
		return string(out), err == nil
	}
	if out, ok := run(); !ok || !strings.Contains(out, "not built: ") || !strings.Contains(out, "--postgres-bin") {
		t.Errorf("success is %v:\n%s", ok, out)
	}
	if out, ok := run("--required"); ok {
		t.Errorf("--required succeeded:\n%s", out)
	}
	if _, ok := run("--unknown"); ok {
		t.Error("an unknown flag was accepted")
	}
	write(t, filepath.Join(repo, "embed", "pgtree", "tree", "pgtree.tar.s2"), "earlier")
	write(t, filepath.Join(repo, "embed", "pgtree", "tree", "manifest.json"), "{}")
	if out, ok := run("--required"); !ok || !strings.Contains(out, "kept the existing archive") {
		t.Errorf("success is %v:\n%s", ok, out)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
