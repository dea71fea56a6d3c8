package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestStepsConvergeAfterEachInterruption(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(t *testing.T, p *Provider, m *machine)
	}{
		{"nothing there", func(*testing.T, *Provider, *machine) {}},
		{"an empty directory of the cluster", func(t *testing.T, p *Provider, _ *machine) {
			if err := os.MkdirAll(p.clusterDir("c"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"a half made cluster", func(t *testing.T, p *Provider, _ *machine) {
			unmade, _ := p.clusterLeftovers(testCluster())
			write(t, "{", unmade, markerFile)
		}},
		{"a half made member", func(t *testing.T, p *Provider, m *machine) {
			mustDo(t, p.CreateSteps(testCluster(), nil))
			unmade, _ := m.leftovers()
			write(t, "{", unmade, markerFile)
		}},
		{"a half removed member", func(t *testing.T, p *Provider, m *machine) {
			mustDo(t, p.CreateSteps(testCluster(), nil))
			_, gone := m.leftovers()
			write(t, "17", gone, "data", "PG_VERSION")
		}},
		{"a member without its directories", func(t *testing.T, p *Provider, m *machine) {
			mustDo(t, p.CreateSteps(testCluster("node0"), testCluster("node0").Members))
			for _, d := range []string{"conf", "log", "run"} {
				if err := os.Remove(filepath.Join(m.dir, d)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a member that others can read", func(t *testing.T, p *Provider, m *machine) {
			mustDo(t, p.CreateSteps(testCluster("node0"), testCluster("node0").Members))
			if err := os.Chmod(m.dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"an interrupted write", func(t *testing.T, p *Provider, m *machine) {
			mustDo(t, p.CreateSteps(testCluster("node0"), testCluster("node0").Members))
			write(t, "half", m.dir, "conf", ".x.pgapp-new")
		}},
		{"a removed cluster's directory", func(t *testing.T, p *Provider, _ *machine) {
			_, gone := p.clusterLeftovers(testCluster())
			write(t, "x", gone, markerFile)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, cl := selfProvider(t), testCluster("node0", "node1")
			m := p.machine(cl, cl.Members[0])
			c.cut(t, p, m)
			for range 2 {
				mustDo(t, p.CreateSteps(cl, cl.Members))
			}
			path := filepath.Join(m.Layout().ConfDir, "x")
			if err := m.WriteFile(testContext(t), path, []byte("y"), 0o600); err != nil {
				t.Errorf("WriteFile: %v", err)
			}
			for range 2 {
				mustDo(t, p.DestroySteps(cl, cl.Members))
			}
			if left, _ := os.ReadDir(p.home); len(left) > 0 {
				t.Errorf("left in the home: %v", left)
			}
		})
	}
}

// TestRemoveResumesAfterInterruption is a removal that ended when all but the directory above
// the clusters was gone: the next one takes that too.
func TestRemoveResumesAfterInterruption(t *testing.T) {
	p := selfProvider(t)
	c := testCluster("node0")
	steps := p.DestroySteps(c, c.Members)
	last := steps[len(steps)-1]
	if done, err := last.Done(t.Context()); err != nil || !done {
		t.Fatalf("done in an empty home: %t, %v", done, err)
	}
	if err := os.Mkdir(p.clustersDir(), passMode); err != nil {
		t.Fatal(err)
	}
	if done, err := last.Done(t.Context()); err != nil || done {
		t.Errorf("done beside an empty directory: %t, %v", done, err)
	}
	mustDo(t, steps)
	if exists(p.clustersDir()) {
		t.Error("the directory above the clusters is left")
	}
}

func TestStepsKeepForeignFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		put  func(t *testing.T, p *Provider, m *machine) string
	}{
		{"a directory without a marker", func(t *testing.T, _ *Provider, m *machine) string {
			return write(t, "precious", m.dir, "data", "base")
		}},
		{"another cluster's member", func(t *testing.T, _ *Provider, m *machine) string {
			write(t, `{"cluster_uuid":"other","cluster":"c","member":"node0"}`, m.dir, markerFile)
			return write(t, "precious", m.dir, "data", "base")
		}},
		{"a damaged marker", func(t *testing.T, _ *Provider, m *machine) string {
			return write(t, `{"cluster_uuid":"0f1e`, m.dir, markerFile)
		}},
		{"a file", func(t *testing.T, _ *Provider, m *machine) string { return write(t, "precious", m.dir) }},
		{"a link", func(t *testing.T, _ *Provider, m *machine) string {
			file := write(t, "precious", t.TempDir(), "base")
			if err := os.Symlink(filepath.Dir(file), m.dir); err != nil {
				t.Fatal(err)
			}
			return file
		}},
		{"a cluster directory of somebody's", func(t *testing.T, p *Provider, _ *machine) string {
			return write(t, "precious", p.clusterDir("c"), "letter")
		}},
		{"a file in the cluster directory's place", func(t *testing.T, p *Provider, _ *machine) string {
			return write(t, "precious", p.clusterDir("c"))
		}},
		{"a cluster directory of another home's cluster", func(t *testing.T, p *Provider, _ *machine) string {
			write(t, `{"cluster_uuid":"other","cluster":"c"}`, p.clusterDir("c"), markerFile)
			return write(t, "precious", p.clusterDir("c"), "passfile")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, cl := selfProvider(t), testCluster("node0")
			m := p.machine(cl, cl.Members[0])
			if !strings.Contains(c.name, "cluster directory") {
				mustDo(t, p.CreateSteps(cl, nil))
			}
			file := c.put(t, p, m)
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := do(t, p.CreateSteps(cl, cl.Members)); !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
				t.Errorf("creating: %v, want %s", err, appliance.ErrDataDirForeign)
			}
			mustDo(t, p.DestroySteps(cl, cl.Members))
			if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
				t.Errorf("the foreign file: %q, %v", after, err)
			}
		})
	}
}

func TestMachineRefusesForeignDirectory(t *testing.T) {
	t.Parallel()
	p, cl := selfProvider(t), testCluster("node0")
	m := p.machine(cl, cl.Members[0])
	write(t, "precious", m.dir, "data", "base")
	ctx := testContext(t)
	_, runErr := m.Run(ctx, appliance.Command{Argv: []string{"true"}})
	_, runningErr := m.ServerRunning(ctx)
	for what, err := range map[string]error{
		"Run": runErr, "ServerRunning": runningErr,
		"WriteFile":    m.WriteFile(ctx, filepath.Join(m.dir, "data", "base"), nil, 0o600),
		"StartServer":  m.StartServer(ctx),
		"StopServer":   m.StopServer(ctx, appliance.StopFast),
		"StartMachine": p.StartMachine(ctx, cl, cl.Members[0], ignore),
	} {
		if !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
			t.Errorf("%s: %v, want %s", what, err, appliance.ErrDataDirForeign)
		}
	}
	if err := m.Fence(ctx); err != nil {
		t.Errorf("Fence has nothing to do there, but: %v", err)
	}
}

func TestHostChecks(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	if err := p.checkDisk(1 << 40); !appliance.IsProblem(err, appliance.ErrHostNoSpace) {
		t.Errorf("a disk for 2^40 members: %v, want %s", err, appliance.ErrHostNoSpace)
	}
	if err := checkMemory(1 << 40); !appliance.IsProblem(err, appliance.ErrHostNoMemory) {
		t.Errorf("memory for 2^40 members: %v, want %s", err, appliance.ErrHostNoMemory)
	}
	cl := testCluster("node0")
	write(t, "17", p.machine(cl, cl.Members[0]).Layout().DataDir, "PG_VERSION")
	if err := p.checkDisk(0); err != nil {
		t.Errorf("a disk for members that have their data: %v", err)
	}
}

func TestSqueezedSocketDirRefusesForeignEntries(t *testing.T) {
	t.Parallel()
	i := ids{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	for _, c := range []struct {
		name string
		put  func(dir string) error
		ok   bool
	}{
		{"nothing there", func(string) error { return nil }, true},
		{"made before", func(dir string) error { return os.Mkdir(dir, 0o700) }, true},
		{"open to others", func(dir string) error { return os.Mkdir(dir, 0o755) }, false},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, false},
		{"a link", func(dir string) error { return os.Symlink(filepath.Dir(dir), dir) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "sockets")
			if err := c.put(dir); err != nil {
				t.Fatal(err)
			}
			err := makeShortSocketDir(dir, i)
			if (err == nil) != c.ok || err != nil && !appliance.IsProblem(err, appliance.ErrForeignObject) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	two := 2
	for name, p := range map[string]*Provider{
		"as it is":       New(Config{Home: filepath.Join(t.TempDir(), "not", "yet")}),
		"as an ordinary": selfProvider(t),
	} {
		seen := map[string]bool{}
		for _, f := range p.Doctor(testContext(t), appliance.Spec{Standbys: &two}) {
			if f.ID == "" || f.Summary == "" || seen[f.ID] {
				t.Errorf("%s: finding %+v lacks something or is there twice", name, f)
			}
			if f.Level == appliance.LevelFail && f.Fix == "" {
				t.Errorf("%s: %s fails without a fix", name, f.ID)
			}
			seen[f.ID] = true
		}
		if len(seen) < 7 {
			t.Errorf("%s: only %d findings", name, len(seen))
		}
	}
}
