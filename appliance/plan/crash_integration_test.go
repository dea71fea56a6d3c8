//go:build integration

package plan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres/template"
)

// exhaustive names the environment variable that asks for a new cluster for each
// crash. By default one cluster crashes at one boundary after the other.
const exhaustive = "PGAPP_TEST_EXHAUSTIVE"

// TestDaemonRecoversFromCrashAtEachBoundary crashes the daemon at every boundary of up and of
// destroy, with real servers. The next daemon must reach the same result as a daemon
// without a crash.
func TestDaemonRecoversFromCrashAtEachBoundary(t *testing.T) {
	t.Parallel()
	t.Run("template", func(t *testing.T) {
		t.Parallel()
		tmpl := packed(t)
		one := 1
		h := newHome(t, 201, tmpl)
		crashes(t, h, appliance.Spec{Provider: appliance.ProviderLocal, Standbys: &one}, "film")
	})
	t.Run("step by step", func(t *testing.T) {
		t.Parallel()
		one := 1
		h := newHome(t, 202, nil)
		sql := filepath.Join(h.dir, "shop.sql")
		h.must(os.WriteFile(sql, []byte("CREATE TABLE goods AS SELECT generate_series(1, 1000) AS id;\n"), 0o600))
		crashes(t, h, appliance.Spec{
			Provider: appliance.ProviderLocal, Standbys: &one, Dataset: appliance.DatasetNone, Database: "shop", SQL: []string{sql},
		}, "goods")
	})
}

// packed returns the program's template.
func packed(t *testing.T) *template.Template {
	t.Helper()
	tmpl, err := template.Open(os.DirFS(filepath.Join("..", "..", "embed", "pgtree", "tree")))
	if errors.Is(err, template.ErrAbsent) {
		if os.Getenv("PGAPP_TEST_BINARY") != "" {
			t.Fatal("no template, though scripts/test makes one")
		}
		t.Skip("SKIPPED: no template: run make build")
	}
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func crashes(t *testing.T, h *home, s appliance.Spec, table string) {
	s.Name, s.EndpointSpec = "main", noEndpoints()
	up := func(c controller) (appliance.Operation, error) { return c.Up(t.Context(), s, appliance.UpOptions{}) }
	destroy := func(c controller) (appliance.Operation, error) {
		return c.Submit(t.Context(), "main", appliance.OpDestroy, appliance.OperationParams{})
	}
	if os.Getenv(exhaustive) == "" {
		ups, destroys := &points{}, &points{}
		h.crashing(up, ups)
		h.wantCluster(table)
		h.crashesBetween(table)
		h.crashing(destroy, destroys)
		h.wantNothing()
		t.Logf("%d crash points of up: %s", len(ups.all), strings.Join(ups.all, ", "))
		t.Logf("%d crash points of destroy: %s", len(destroys.all), strings.Join(destroys.all, ", "))
		return
	}
	ups, destroys := &points{dry: true}, &points{dry: true}
	h.crashing(up, ups)
	h.crashing(destroy, destroys)
	t.Logf("%d crash points of up, %d of destroy, each in a cluster of its own", len(ups.all), len(destroys.all))
	for i, point := range ups.all {
		h.crashing(up, &points{only: point})
		h.wantCluster(table)
		h.crashing(destroy, &points{only: destroys.all[i%len(destroys.all)]})
		h.wantNothing()
		if t.Failed() {
			t.Fatalf("after a crash at %q", point)
		}
	}
}

// crashesBetween crashes the daemon at every boundary of the operations between
// up and destroy.
func (h *home) crashesBetween(table string) {
	h.t.Helper()
	for _, o := range []struct {
		kind   appliance.OperationKind
		member string
	}{
		{appliance.OpReinit, "node1"},
		{appliance.OpRestart, ""},
		{appliance.OpStop, ""},
		{appliance.OpStart, ""},
	} {
		tried := &points{}
		h.crashing(func(c controller) (appliance.Operation, error) {
			return c.Submit(h.t.Context(), "main", o.kind, appliance.OperationParams{Member: o.member})
		}, tried)
		h.t.Logf("%d crash points of %s", len(tried.all), o.kind)
		if pids := h.processes(); o.kind == appliance.OpStop && len(pids) > 0 {
			h.t.Errorf("processes %v still run after stop", pids)
		}
		if o.kind != appliance.OpStop {
			h.wantCluster(table)
		}
	}
}

// controller begins operations.
type controller interface {
	Up(ctx context.Context, s appliance.Spec, o appliance.UpOptions) (appliance.Operation, error)
	Submit(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error)
}

// points decides where to crash: at each boundary once, or at one only.
type points struct {
	dry  bool   // crash nowhere
	only string // crash here

	mu   sync.Mutex
	all  []string // the boundaries met, in order of first meeting
	down bool     // this daemon has crashed
}

var errCrash = errors.New("crash")

func (p *points) crash(point string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return errCrash
	}
	if slices.Contains(p.all, point) {
		return nil
	}
	p.all = append(p.all, point)
	if p.dry || p.only != "" && point != p.only {
		return nil
	}
	p.down = true
	return errCrash
}

// crashing runs the operation to its end, through the crashes that p decides, with
// a new daemon after each crash.
func (h *home) crashing(begin func(controller) (appliance.Operation, error), p *points) {
	h.t.Helper()
	c, r := h.daemon(p.crash)
	o, err := begin(c)
	h.must(err)
	for {
		last := follow(h.t, r, o.ID)
		r.Close()
		if !p.down {
			if last.State != appliance.OpSucceeded {
				h.t.Fatalf("operation %s (%s) is %s after crashes at %q: %v\n%s", last.ID, last.Kind, last.State, p.all, last.Error, last.Error.Detail)
			}
			return
		}
		p.down = false
		stored, err := h.st.Operation(h.t.Context(), o.ID)
		h.must(err)
		if stored.State != appliance.OpRunning {
			h.t.Fatalf("after a crash at %q the journal calls the operation %s: %+v", p.all[len(p.all)-1], stored.State, stored.Error)
		}
		c, r = h.daemon(p.crash)
		h.must(c.Recover(h.t.Context()))
	}
}

// wantCluster checks that the cluster is ready and has its data, with a new daemon,
// which knows the cluster only from the store.
func (h *home) wantCluster(table string) {
	h.t.Helper()
	c, r := h.daemon(nil)
	defer r.Close()
	v, err := c.Verify(h.t.Context(), "main")
	h.must(err)
	// Retry while a busy machine doesn't answer within pgapp's limits.
	for end := time.Now().Add(patience); slices.ContainsFunc(v.Checks, unanswered) && time.Now().Before(end); {
		v, err = c.Verify(h.t.Context(), "main")
		h.must(err)
	}
	for _, check := range v.Checks {
		if !check.OK {
			h.t.Errorf("%s on %s: %s", check.Name, check.Member, check.Detail)
		}
	}
	s, err := c.Status(h.t.Context(), "main")
	h.must(err)
	if s.Phase != appliance.PhaseReady || s.Operation != "" || len(s.Members) != 2 {
		h.t.Errorf("status %+v, want a ready cluster of two members without an operation", s)
	}
	conn, err := c.Connection(h.t.Context(), "main", "rw", false)
	h.must(err)
	if n := h.count(conn, table); n != "1000" {
		h.t.Errorf("%s has %s rows, want 1000", table, n)
	}
}

func unanswered(c appliance.Check) bool {
	return !c.OK && strings.Contains(c.Detail, "no answer in time")
}
