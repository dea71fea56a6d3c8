package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the prefix of all that is ours.
const module = "pgapp"

// root is the top of the tree, seen from this package.
const root = "../.."

// room is a set of packages and what of ours they may import. A name that
// ends in /... stands for the package and all below it.
type room struct {
	packages string
	may      []string
}

// rooms is the import table of the design: imports go one way. The first room
// that holds a package decides.
func rooms() []room {
	return []room{
		{"pgapp", []string{"appliance/cli", "appliance/daemon/...", "embed/..."}},
		{"appliance/cli", []string{"appliance", "appliance/bench", "appliance/bench/load", "appliance/bench/report", "appliance/bench/share", "appliance/bench/suitefile", "appliance/drill", "appliance/home", "appliance/program", "appliance/rental", "appliance/rental/web", "api"}},
		{"appliance/daemon/supervise", []string{"appliance"}},
		{"appliance/daemon/statebackup", []string{"appliance", "appliance/control", "appliance/daemon/supervise", "appliance/home", "appliance/program", "api", "store/..."}},
		{"appliance/daemon", []string{
			"appliance", "appliance/bench", "appliance/bench/load", "appliance/bench/report", "appliance/cert", "appliance/control", "appliance/daemon/...", "appliance/doctor", "appliance/endpoint/...", "appliance/ha/watch", "appliance/routing", "appliance/home", "appliance/observe",
			"appliance/op", "appliance/plan", "appliance/postgres/...", "appliance/program", "api", "store/...", "provisioner/...", "embed/...",
		}},
		{"appliance/home", []string{"appliance"}},
		{"appliance/program", []string{"appliance"}},
		{"appliance/op", []string{"appliance"}},
		{"appliance/postgres/...", []string{"appliance"}},
		{"appliance/ha/watch", []string{"appliance", "appliance/ha", "appliance/postgres"}},
		{"appliance/routing", []string{"appliance", "appliance/endpoint", "appliance/ha", "appliance/postgres"}},
		{"appliance/ha", []string{"appliance"}},
		{"appliance/drill", []string{"appliance"}},
		{"appliance/endpoint/kernel", []string{"appliance", "appliance/endpoint"}},
		{"appliance/endpoint/relay", nil},
		{"appliance/endpoint", []string{"appliance", "appliance/endpoint/relay"}},
		{"appliance/bench", []string{"appliance"}},
		{"appliance/bench/load", []string{"appliance", "appliance/rental"}},
		{"appliance/bench/report", []string{"appliance"}},
		{"appliance/bench/suitefile", []string{"appliance", "appliance/bench/load"}},
		{"appliance/bench/share", []string{"appliance"}},
		{"appliance/rental", []string{"appliance"}},
		{"appliance/rental/web", []string{"appliance", "appliance/rental"}},
		{"appliance/wait", nil},
		{"appliance/durable", nil},
		{"appliance/observe", []string{"appliance", "appliance/postgres"}},
		{"appliance/plan", []string{"appliance", "appliance/ha", "appliance/observe", "appliance/postgres/..."}},
		{"appliance/control", []string{"appliance", "appliance/observe", "appliance/op", "appliance/postgres", "appliance/wait"}},
		{"appliance/cert", nil},
		{"appliance/doctor", []string{"appliance"}},
		{"appliance/ssh", []string{"appliance"}},
		{"appliance", nil},
		{"store/...", []string{"appliance", "appliance/home", "store/..."}},
		{"api", []string{"appliance"}},
		{"provisioner/local", []string{"appliance", "appliance/doctor"}},
		{"provisioner/libvirt/...", []string{"appliance", "appliance/doctor", "appliance/ssh", "provisioner/libvirt/..."}},
		{"provisioner/providertest", []string{"appliance"}},
		{"embed/...", nil},
		{"scripts/...", []string{"appliance/...", "provisioner/...", "embed/...", "scripts/..."}},
	}
}

// leaves are packages that import nothing of ours. Every room may import them.
func leaves() []string { return []string{"appliance/wait", "appliance/durable"} }

// keepers are the modules that one room keeps to itself.
func keepers() map[string]string {
	return map[string]string{
		"github.com/labstack/echo":           "api",
		"github.com/danielgtaylor/huma":      "api",
		"go.etcd.io/bbolt":                   "store",
		"github.com/digitalocean/go-libvirt": "provisioner/libvirt/...",
		"libvirt.org/go/libvirtxml":          "provisioner/libvirt/...",
		"golang.org/x/crypto/ssh":            "appliance/ssh",
		"github.com/spf13/cobra":             "appliance/cli",
		"github.com/google/renameio":         "appliance/durable",
		"github.com/vishvananda/netlink":     "appliance/endpoint/kernel",
		"github.com/go-analyze/charts":       "appliance/bench/report",
		"codeberg.org/go-pdf/fpdf":           "appliance/bench/report",
	}
}

// in tells whether the package (without the module's name) is of the pattern.
func in(pattern, pkg string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return pkg == base || below && strings.HasPrefix(pkg, base+"/")
}

// short leaves out the module's name; ok is false for what isn't ours.
func short(path string) (pkg string, ok bool) {
	if path == module {
		return module, true
	}
	return strings.CutPrefix(path, module+"/")
}

// listed is what go list says of a package.
type listed struct {
	ImportPath   string
	Name         string
	Dir          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = filepath.FromSlash(root)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		pkg, _ := short(p.ImportPath)
		r, ok := roomOf(pkg)
		if !ok {
			t.Errorf("%s is in no room of the table", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := short(path)
			if ours && !allowed(r, imported) {
				t.Errorf("%s imports %s, but room %q may import only %q", p.ImportPath, path, r.packages, r.may)
			}
		}
	}
}

func TestOneRoomKeepsTheModule(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		pkg, _ := short(p.ImportPath)
		for _, path := range p.Imports {
			for mod, room := range keepers() {
				if (path == mod || strings.HasPrefix(path, mod+"/")) && !in(room, pkg) {
					t.Errorf("%s imports %s, which only %s may", p.ImportPath, path, room)
				}
			}
		}
	}
}

// TestOnlyTestsImportTestSupport holds for packages that are made for tests:
// their names end in "test".
func TestOnlyTestsImportTestSupport(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, path := range p.Imports {
			if _, ours := short(path); ours && strings.HasSuffix(path, "test") {
				t.Errorf("%s imports %s, which is for tests only", p.ImportPath, path)
			}
		}
	}
}

// TestImportTableHasNoSpareArrows fails for a row that names no package, and
// for an allowed import that no package of the row has.
func TestImportTableHasNoSpareArrows(t *testing.T) {
	t.Parallel()
	table := rooms()
	used := map[string][]string{}
	for _, p := range packages(t) {
		pkg, _ := short(p.ImportPath)
		r, _ := roomOf(pkg)
		used[r.packages] = append(used[r.packages], p.Imports...)
	}
	for _, r := range table {
		imports, ok := used[r.packages]
		if !ok {
			t.Errorf("row %q names no package that no row above names", r.packages)
		}
		for _, pattern := range r.may {
			if !slices.ContainsFunc(imports, func(path string) bool {
				pkg, ours := short(path)
				return ours && in(pattern, pkg)
			}) {
				t.Errorf("row %q allows an import of %q, which none of its packages has", r.packages, pattern)
			}
		}
	}
}

func roomOf(pkg string) (room, bool) {
	for _, r := range rooms() {
		if in(r.packages, pkg) {
			return r, true
		}
	}
	return room{}, false
}

func allowed(r room, imported string) bool {
	if slices.Contains(leaves(), imported) {
		return true
	}
	for _, pattern := range r.may {
		if in(pattern, imported) {
			return true
		}
	}
	return false
}
