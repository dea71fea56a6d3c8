//go:build integration

package plan_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/observe"
	"pgapp/appliance/op"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
	"pgapp/embed/pagila"
	"pgapp/provisioner/local"
	"pgapp/scripts/pacetest"
	"pgapp/store"
)

// patience bounds one operation. No operation takes a tenth of it.
const patience = 4 * time.Minute

// home is the state that outlives a daemon: its directory and the running servers.
type home struct {
	t     *testing.T
	dir   string
	block byte
	pgbin string
	tmpl  *template.Template
	st    *store.Store
	// sessions are the last daemon's, which its end closes.
	sessions *postgres.Sessions
	// planner is the last daemon's.
	planner *plan.Planner
	// around is [guardedStore]'s.
	around func(after bool) error
	// written is [guardedProvider]'s.
	written func(member string, data []byte)
	// starting, if set, is called before a member's server is started.
	starting func(appliance.Member)
}

// newHome makes a home, in memory if /dev/shm has room.
func newHome(t *testing.T, block byte, tmpl *template.Template) *home {
	t.Helper()
	pacetest.Enter(t)
	pgbin := os.Getenv("PGAPP_TEST_PGBIN")
	if pgbin == "" {
		t.Fatal("PGAPP_TEST_PGBIN does not name PostgreSQL's programs: run scripts/test, or set it to what 'go run ./scripts/build/unpack DIR' prints")
	}
	parent := "/var/tmp"
	var shm unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &shm); err == nil && shm.Bavail*uint64(shm.Bsize) > 1<<30 { // containers get 64 MiB
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "pgapp-plan-")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: dir, block: block, pgbin: pgbin, tmpl: tmpl}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	lock, err := store.Lock(dir)
	h.must(err)
	h.st, err = store.Open(t.Context(), dir, store.Options{Lock: lock})
	h.must(err)
	t.Cleanup(func() {
		if err := errors.Join(h.st.Close(), lock.Release()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.nothingLeft)
	return h
}

func (h *home) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// startedMachine calls starting before its server is started.
type startedMachine struct {
	appliance.Machine
	starting func()
}

func (m startedMachine) StartServer(ctx context.Context) error {
	m.starting()
	return m.Machine.StartServer(ctx)
}

// noEndpoints is for clusters of these homes, where nothing leads endpoints.
func noEndpoints() appliance.EndpointSpec {
	return appliance.EndpointSpec{Endpoint: appliance.EndpointOff}
}

// daemon makes the controller and the runner of a new daemon on the home. The new
// daemon knows its predecessors only from the store. The runner's Close ends it.
func (h *home) daemon(crash func(string) error) (*control.Controller, *op.Runner) {
	provider := guardedProvider{local.New(local.Config{Home: h.dir, FirstBlock: h.block}), h.t, nil, h.written}
	if h.starting != nil {
		provider.machine = func(m appliance.Member) appliance.Machine {
			return startedMachine{provider.Provider.Machine(h.record(), m), func() { h.starting(m) }}
		}
	}
	providers := map[appliance.ProviderKind]appliance.Provider{appliance.ProviderLocal: provider}
	if h.sessions != nil {
		h.sessions.Close(context.WithoutCancel(h.t.Context()))
	}
	sessions := &postgres.Sessions{}
	h.sessions = sessions
	watcher := observe.New(sessions)
	planner := plan.New(plan.Config{
		Sessions: sessions, Observer: watcher, Store: guardedStore{h.st, h.t, h.around}, Providers: providers, Dataset: dataset,
		Template:     func(appliance.Spec) *template.Template { return h.tmpl },
		HostPostgres: func(context.Context) (bool, error) { return h.tmpl == nil, nil },
		Binaries: func(ctx context.Context, _ appliance.Spec, _ appliance.PostgresOrigin) (tree.Binaries, error) {
			return tree.Find(ctx, tree.Search{BinDir: h.pgbin})
		},
		Forget: func(cluster string) error { return os.RemoveAll(filepath.Join(h.dir, "client", cluster)) },
	})
	h.planner = planner
	log := slog.New(slog.DiscardHandler)
	runner := op.New(context.WithoutCancel(h.t.Context()), op.Config{
		Store: h.st, Decide: planner.Decide, End: planner.End, Log: log, Crash: crash,
		Plan: func(ctx context.Context, o appliance.Operation) ([]appliance.Step, error) {
			steps, err := planner.Plan(ctx, o)
			return onlyObserving(steps), err
		},
	})
	return control.New(control.Config{
		Store: h.st, Runner: runner, Decide: planner.DecideOn, Preview: planner.Preview, Providers: providers, Log: log, ClientDir: filepath.Join(h.dir, "client"),
		Info: appliance.Info{Build: "test"}, Observer: watcher,
		Psql: func(context.Context, appliance.Cluster) (string, error) { return filepath.Join(h.pgbin, "psql"), nil },
	}), runner
}

func dataset(string) ([]postgres.LoadFile, error) {
	var out []postgres.LoadFile
	for _, f := range pagila.Files() {
		out = append(out, postgres.LoadFile{Name: f, AsOwner: true, Open: func() (io.ReadCloser, error) { return pagila.FS.Open(f) }})
	}
	return out, nil
}

// follow waits until the operation ends or is no longer live.
func follow(t *testing.T, r *op.Runner, id string) appliance.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	ch, err := r.Watch(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	var last appliance.Operation
	for o := range ch {
		last = o
	}
	if ctx.Err() != nil {
		t.Fatalf("operation %s did not end: %+v", id, last)
	}
	return last
}

// count counts a table's rows through psql.
func (h *home) count(c appliance.Connection, table string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), filepath.Join(h.pgbin, "psql"), "-XAtw", "-c", "SELECT count(*) FROM "+table)
	cmd.Env = append(os.Environ(), "PGHOST="+c.Hosts[0].Host, "PGPORT="+strconv.Itoa(c.Hosts[0].Port), "PGUSER="+c.User,
		"PGDATABASE="+c.Database, "PGPASSFILE="+c.PassFile)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("psql: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// processes lists the processes that work below the home.
func (h *home) processes() []int {
	entries, err := os.ReadDir("/proc")
	h.must(err)
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && strings.HasPrefix(cwd, h.dir+"/") {
			out = append(out, pid)
		}
	}
	return out
}

// nothingLeft destroys the clusters that a failed test left, then checks that no
// process or file is left.
func (h *home) nothingLeft() {
	ctx := context.WithoutCancel(h.t.Context())
	if clusters, err := h.st.Clusters(ctx); err == nil && len(clusters) > 0 {
		c, r := h.daemon(nil)
		for _, cl := range clusters {
			if o, err := c.Submit(ctx, cl.Name, appliance.OpDestroy, appliance.OperationParams{}); err == nil {
				follow(h.t, r, o.ID)
			}
		}
		r.Close()
	}
	h.wantNothing()
}

func (h *home) wantNothing() {
	h.t.Helper()
	if pids := h.processes(); len(pids) > 0 {
		h.t.Errorf("processes %v are left", pids)
	}
	for _, name := range []string{"clusters", "client"} {
		if entries, err := os.ReadDir(filepath.Join(h.dir, name)); err == nil && len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.t.Errorf("left in %s: %v, %v", name, entries, err)
		}
	}
}
