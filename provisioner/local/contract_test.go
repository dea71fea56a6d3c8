//go:build integration

package local

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"pgapp/appliance"
	"pgapp/provisioner/providertest"
)

// postgresBin finds a real PostgreSQL 17.
func postgresBin(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PGAPP_TEST_PGBIN"); dir != "" {
		return dir
	}
	const packaged = "/usr/lib/postgresql/17/bin"
	if _, err := os.Stat(filepath.Join(packaged, serverName)); err != nil {
		t.Skipf("SKIPPED: it needs PostgreSQL 17, which scripts/test makes: PGAPP_TEST_PGBIN is not set and there is none in %s", packaged)
	}
	return packaged
}

// testHome creates a home that members' users can pass through, unlike a
// directory of t.TempDir.
func testHome(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgapp-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the test's home: %v", err)
		}
	})
	home := filepath.Join(dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for d := home; d != filepath.Dir(dir); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// newTestProvider returns a Provider with its own home and block of addresses,
// because other tests run clusters on this machine too.
func newTestProvider(t *testing.T, name string) *Provider {
	t.Helper()
	return New(Config{Home: testHome(t, name), TempDir: testHome(t, "t"), FirstBlock: testBlock()})
}

// drawn counts the blocks given to this process's tests.
var drawn atomic.Int64

// testBlock gives each test four blocks that no other test of this process has,
// and that tests of other processes are unlikely to have.
func testBlock() byte {
	return byte(1 + 4*((int64(os.Getpid())+drawn.Add(1))%30))
}

func fixture(t *testing.T, p *Provider) providertest.Fixture {
	t.Helper()
	return providertest.Fixture{
		Provider:    p,
		Spec:        appliance.Spec{Provider: appliance.ProviderLocal},
		PostgresBin: postgresBin(t),
		Leftovers:   func(t *testing.T, c appliance.Cluster) []string { return leftovers(t, p, c) },
		PutForeign: func(t *testing.T, c appliance.Cluster, m appliance.Member) func(*testing.T) {
			return putForeign(t, p, c, m)
		},
		Kill: func(t *testing.T, c appliance.Cluster, m appliance.Member) {
			t.Helper()
			signalPostmaster(t, p.machine(c, m), syscall.SIGKILL)
		},
		Halts: halts(p),
	}
}

func signalPostmaster(t *testing.T, m *machine, sig syscall.Signal) {
	t.Helper()
	pm, ok, err := m.postmaster()
	if err != nil || !ok {
		t.Fatalf("postmaster() = %v, %v", ok, err)
	}
	if err := syscall.Kill(pm.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// halts freezes only where members have cgroups.
func halts(p *Provider) []providertest.Halt {
	out := []providertest.Halt{{Name: "a postmaster that is stopped", Do: func(t *testing.T, c appliance.Cluster, m appliance.Member) func() {
		t.Helper()
		signalPostmaster(t, p.machine(c, m), syscall.SIGSTOP)
		return func() { signalPostmaster(t, p.machine(c, m), syscall.SIGCONT) }
	}}}
	if !p.cgroups.usable() {
		return out
	}
	return append(out, providertest.Halt{Name: "a cgroup that is frozen", Do: func(t *testing.T, c appliance.Cluster, m appliance.Member) func() {
		t.Helper()
		pm, _, err := p.machine(c, m).postmaster()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(p.cgroups.ofProc(pm), "cgroup.freeze")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0); err != nil {
				t.Fatal(err)
			}
		}
		write("1")
		return func() { write("0") }
	}})
}

// leftovers searches the home, the socket directories, the cgroups and the
// processes without using the provider's code.
func leftovers(t *testing.T, p *Provider, c appliance.Cluster) []string {
	t.Helper()
	patterns := []string{
		filepath.Join(p.home, "*"), filepath.Join(p.home, "clusters", "*"), filepath.Join(p.home, "clusters", ".*"),
		filepath.Join(p.cgroups.mount, "pgapp-"+shortUUID(c.UUID)+"*"),
	}
	if p.temp != os.TempDir() {
		patterns = append(patterns, filepath.Join(p.temp, "pgapp-*"))
	}
	var out []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	all, err := allProcs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pr := range all {
		cwd, _ := pr.cwd()
		title, _ := os.ReadFile(pr.path("cmdline"))
		if strings.HasPrefix(cwd, p.home) || strings.Contains(string(title), p.home) {
			out = append(out, strings.ReplaceAll(string(title), "\x00", " "))
		}
	}
	return out
}

func putForeign(t *testing.T, p *Provider, c appliance.Cluster, m appliance.Member) func(*testing.T) {
	t.Helper()
	if err := p.makeClusterDir(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	dir := p.machine(c, m).dir
	file := filepath.Join(dir, "data", "precious")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	return func(t *testing.T) {
		t.Helper()
		if after := tree(t, dir); !slices.Equal(before, after) {
			t.Errorf("the foreign directory was %q, and is %q", before, after)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "mine" {
			t.Errorf("the foreign file: %q, %v", got, err)
		}
	}
}

// tree lists a directory's files with mode, owner and time of change.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		out = append(out, path+" "+st.Mode().String()+" "+st.ModTime().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		t.Helper()
		return fixture(t, newTestProvider(t, "home"))
	})
}

// TestContractWithoutCgroups simulates a machine where pgapp can't create
// cgroups: an ordinary user without a user manager, or a container.
func TestContractWithoutCgroups(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		t.Helper()
		p := newTestProvider(t, "home")
		p.cgroups = cgroups{}
		return fixture(t, p)
	})
}

// TestContractDeepHome uses a home in which socket paths would be too long.
func TestContractDeepHome(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		t.Helper()
		deep := strings.Repeat("deep home/", 12)
		return fixture(t, newTestProvider(t, deep))
	})
}
