package api

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
)

// world is a fake Service that notes every change.
type world struct {
	*daemon
	server *Server
	other  atomic.Int64 // changes of what the fake has no record of
	begun  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	f := newFake()
	tokens := &fakeTokens{f: f, hash: map[string][32]byte{}}
	f.addToken(adminToken, ScopeAdmin)
	f.addToken(readToken, ScopeRead)
	cfg := Config{
		Service: f, Logs: f, Operations: f, Tokens: f, Idempotency: f, TokenAdmin: &countedTokens{tokens, w}, State: &countedState{w: w}, Adopter: &countedState{w: w}, Pauses: countedPauses{w}, SQLFiles: &countedSQL{&fakeSQL{}, w},
		Machines: &countedMachines{&fakeMachines{kept: map[string]bool{}}, w}, Benches: countedBenches{w: w}, Shutdown: func() { w.other.Add(1) },
		DaemonLogs: func(_ context.Context, _ bool, out io.Writer) error {
			_, err := io.WriteString(out, "{}\n")
			return err
		},
	}
	w.server = New(cfg)
	w.daemon = serve(t, f, w.server, filepath.Join(t.TempDir(), "s"))
	return w
}

// reset restores the initial state: one cluster and two operations.
func (w *world) reset() {
	w.mu.Lock()
	w.clusters, w.ops, w.order, w.keys = map[string]appliance.ClusterStatus{}, map[string]appliance.Operation{}, nil, map[string]fakeKey{}
	w.mu.Unlock()
	for range 2 {
		o, err := w.Up(context.Background(), appliance.Spec{Name: "main"}, appliance.UpOptions{})
		if err != nil {
			panic(err)
		}
		w.finish(o.ID)
	}
	w.begun = 2
}

// forgive resets the backoff for wrong tokens.
func (w *world) forgive() {
	b := w.server.gate.backoff
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.hosts)
}

// settle ends most operations of the last request.
func (w *world) settle() {
	w.mu.Lock()
	var open []string
	for id, o := range w.ops {
		if !o.State.Final() {
			open = append(open, id)
		}
	}
	n := len(w.order)
	w.mu.Unlock()
	for _, id := range open {
		if n%4 != 0 || n == w.begun {
			w.finish(id)
		}
	}
	w.begun = n
}

// state is all that a request could have changed.
func (w *world) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b bytes.Buffer
	for _, v := range []any{w.clusters, w.ops, w.order, len(w.keys), len(w.tokens), w.other.Load()} {
		b.Write(marshal(v))
	}
	return b.String()
}

// The counted ones are fakes that tell a world of each change that succeeds.

// countedPauses pauses the clusters that are there.
type countedPauses struct{ w *world }

func (c countedPauses) Pause(ctx context.Context, cluster string, _ time.Duration) (appliance.Automation, error) {
	return c.set(ctx, cluster, appliance.AutomaticPaused)
}

func (c countedPauses) Resume(ctx context.Context, cluster string) (appliance.Automation, error) {
	return c.set(ctx, cluster, appliance.AutomaticOn)
}

func (c countedPauses) set(ctx context.Context, cluster string, a appliance.Automatic) (appliance.Automation, error) {
	if _, err := c.w.Status(ctx, cluster); err != nil {
		return appliance.Automation{}, err
	}
	c.w.other.Add(1)
	return appliance.Automation{Automatic: a}, nil
}

type countedTokens struct {
	*fakeTokens
	w *world
}

func (c *countedTokens) CreateToken(ctx context.Context, name, scope string, hash [32]byte) (Token, error) {
	t, err := c.fakeTokens.CreateToken(ctx, name, scope, hash)
	return t, c.w.note(err)
}

func (c *countedTokens) RevokeToken(ctx context.Context, name string) error {
	return c.w.note(c.fakeTokens.RevokeToken(ctx, name))
}

// note counts a change that succeeded.
func (w *world) note(err error) error {
	if err == nil {
		w.other.Add(1)
	}
	return err
}

type countedState struct {
	fakeState
	w *world
}

func (c *countedState) Restore(_ context.Context, r io.Reader, _ RestoreRequest) (RestoreResult, error) {
	_, err := io.Copy(io.Discard, r)
	return RestoreResult{Instance: "i"}, c.w.note(err)
}

func (c *countedState) Compact(context.Context) (CompactResult, error) {
	return CompactResult{}, c.w.note(nil)
}

func (c *countedState) Adopt(ctx context.Context, cluster string) (appliance.Adoption, error) {
	if _, err := c.w.Status(ctx, cluster); err != nil {
		return appliance.Adoption{}, err
	}
	return appliance.Adoption{Cluster: cluster}, c.w.note(nil)
}

type countedMachines struct {
	*fakeMachines
	w *world
}

func (c *countedMachines) KeepImage(ctx context.Context, req ImageRequest, report appliance.Report) (ImageEntry, error) {
	e, err := c.fakeMachines.KeepImage(ctx, req, report)
	return e, c.w.note(err)
}

func (c *countedMachines) RemoveImage(ctx context.Context, name string) error {
	return c.w.note(c.fakeMachines.RemoveImage(ctx, name))
}

func (c *countedMachines) DestroyByTag(ctx context.Context, uuid string, report appliance.Report) error {
	return c.w.note(c.fakeMachines.DestroyByTag(ctx, uuid, report))
}

type countedBenches struct {
	fakeBenches
	w *world
}

func (c countedBenches) StartBench(ctx context.Context, cluster string, req appliance.BenchRequest) (appliance.Bench, error) {
	if _, err := c.w.Status(ctx, cluster); err != nil {
		return appliance.Bench{}, err
	}
	b, err := c.fakeBenches.StartBench(ctx, cluster, req)
	return b, c.w.note(err)
}

func (c countedBenches) CancelBench(ctx context.Context, id string) (appliance.Bench, error) {
	b, err := c.fakeBenches.CancelBench(ctx, id)
	return b, c.w.note(err)
}

func (c countedBenches) RemoveBench(ctx context.Context, id string) error {
	return c.w.note(c.fakeBenches.RemoveBench(ctx, id))
}
