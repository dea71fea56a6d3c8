package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
)

// fake is a Service without PostgreSQL: clusters are records that operations
// change. An operation stays running until the test finishes it.
type fake struct {
	mu       sync.Mutex
	clusters map[string]appliance.ClusterStatus
	ops      map[string]appliance.Operation
	order    []string
	changed  chan struct{} // closed and replaced at every change
	calls    int           // of anything that could change or observe something
	statuses int
	tokens   map[[32]byte]string
	keys     map[string]fakeKey
	fail     error // returned by every call where set
	panics   bool
	logs     func(ctx context.Context, w io.Writer) error
}

type fakeKey struct {
	hash [32]byte
	id   string
}

func newFake() *fake {
	return &fake{
		clusters: map[string]appliance.ClusterStatus{}, ops: map[string]appliance.Operation{},
		changed: make(chan struct{}), tokens: map[[32]byte]string{}, keys: map[string]fakeKey{},
	}
}

func (f *fake) count() error {
	f.calls++
	if f.panics {
		panic("a canary: sesame")
	}
	return f.fail
}

func (f *fake) Info(context.Context) appliance.Info {
	return appliance.Info{Home: "/tmp/home", Version: "v0", Build: "b", Mode: "normal", PID: 1}
}

func (f *fake) Clusters(context.Context) ([]appliance.ClusterStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return nil, err
	}
	var out []appliance.ClusterStatus
	for _, c := range f.clusters {
		out = append(out, c)
	}
	return out, nil
}

func (f *fake) Status(_ context.Context, cluster string) (appliance.ClusterStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses++
	if err := f.count(); err != nil {
		return appliance.ClusterStatus{}, err
	}
	c, ok := f.clusters[cluster]
	if !ok {
		return c, appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", cluster).WithHint("pgapp up --cluster %s", cluster)
	}
	return c, nil
}

func (f *fake) Up(_ context.Context, spec appliance.Spec, w appliance.UpOptions) (appliance.Operation, error) {
	spec = spec.WithDefaults()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return appliance.Operation{}, err
	}
	if w.Check != nil {
		if err := w.Check(f.clusters[spec.Name].Revision); err != nil {
			return appliance.Operation{}, err
		}
	}
	if w.DryRun {
		return appliance.Operation{Cluster: spec.Name, Kind: appliance.OpUp, State: appliance.OpPlanned, Steps: []appliance.StepRecord{{ID: "record", Title: "record the change", State: appliance.StepPending}}}, nil
	}
	if _, ok := f.clusters[spec.Name]; !ok {
		c := appliance.ClusterStatus{Revision: 1, Name: spec.Name, Phase: appliance.PhaseCreating, Primary: "node0", Database: spec.Database, Spec: &spec}
		for i := range spec.StandbyCount() + 1 {
			m := appliance.MemberStatus{Name: appliance.MemberName(i), Role: appliance.RoleStandby, State: appliance.StateStreaming, Host: "127.0.0.1", Port: 5432}
			if i == 0 {
				m.Role, m.State = appliance.RolePrimary, appliance.StateRunning
			}
			c.Members = append(c.Members, m)
		}
		f.clusters[spec.Name] = c
	}
	return f.begin(spec.Name, appliance.OpUp, appliance.OperationParams{})
}

func (f *fake) Scale(_ context.Context, cluster string, w appliance.ScaleWish) (appliance.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return appliance.Operation{}, err
	}
	c, ok := f.clusters[cluster]
	if !ok {
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", cluster)
	}
	if w.Remove != "" && w.Remove == c.Primary {
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrConflict, "%s is the primary", w.Remove)
	}
	n := len(c.Members) - 1 + w.Add
	switch {
	case w.Remove != "":
		n--
	case w.Standbys != nil:
		n = *w.Standbys
	}
	return f.begin(cluster, appliance.OpScale, appliance.OperationParams{Change: &appliance.Change{Standbys: n}, Force: w.Force})
}

func (f *fake) Submit(_ context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return appliance.Operation{}, err
	}
	if _, ok := f.clusters[cluster]; !ok {
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", cluster)
	}
	return f.begin(cluster, kind, p)
}

func (f *fake) begin(cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error) {
	for _, o := range f.ops {
		if o.Cluster == cluster && !o.State.Final() {
			busy := appliance.NewProblem(appliance.ErrOperationRunning, "operation %s (%s) is running", o.ID, o.Kind)
			busy.Operation = o.ID
			return appliance.Operation{}, busy
		}
	}
	o := appliance.Operation{
		ID: fmt.Sprintf("op%d", len(f.order)+1), Cluster: cluster, Kind: kind, State: appliance.OpRunning,
		Params: p, CreatedAt: time.Now(), Revision: 1,
	}
	f.put(o)
	f.order = append(f.order, o.ID)
	return o, nil
}

func (f *fake) put(o appliance.Operation) {
	f.ops[o.ID] = o
	close(f.changed)
	f.changed = make(chan struct{})
}

// step changes an operation as its runner would.
func (f *fake) step(id string, change func(*appliance.Operation)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.ops[id]
	o.Steps = slices.Clone(o.Steps)
	change(&o)
	o.Revision++
	f.put(o)
}

func (f *fake) finish(id string) {
	f.step(id, func(o *appliance.Operation) { o.State = appliance.OpSucceeded })
}

func (f *fake) Verify(_ context.Context, cluster string) (appliance.VerifyReport, error) {
	if _, err := f.Status(nil, cluster); err != nil { //nolint:staticcheck // the fake looks at no context
		return appliance.VerifyReport{}, err
	}
	return appliance.VerifyReport{OK: true, Checks: []appliance.Check{{Name: "marker", Member: "node1", OK: true}}}, nil
}

func (f *fake) Connection(ctx context.Context, cluster, role string, reveal bool) (appliance.Connection, error) {
	c, err := f.Status(ctx, cluster)
	if err != nil {
		return appliance.Connection{}, err
	}
	out := appliance.Connection{Cluster: cluster, Role: role, Database: c.Database, User: "app"}
	if reveal {
		out.Password = "sesame"
	}
	return out, nil
}

func (f *fake) Logs(ctx context.Context, cluster, member string, follow bool, w io.Writer) error {
	if _, err := f.Status(ctx, cluster); err != nil {
		return err
	}
	if f.logs != nil {
		return f.logs(ctx, w)
	}
	if _, err := fmt.Fprintf(w, "%s: ready\n", member); err != nil {
		return err
	}
	if follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *fake) Operation(_ context.Context, id string) (appliance.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return appliance.Operation{}, err
	}
	o, ok := f.ops[id]
	if !ok {
		return o, appliance.NewProblem(appliance.ErrNotFound, "there is no operation %q", id)
	}
	return o, nil
}

func (f *fake) Operations(_ context.Context, cluster string) ([]appliance.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return nil, err
	}
	var out []appliance.Operation
	for _, id := range slices.Backward(f.order) {
		if o := f.ops[id]; cluster == "" || o.Cluster == cluster {
			out = append(out, o)
		}
	}
	return out, nil
}

func (f *fake) Cancel(ctx context.Context, id string) (appliance.Operation, error) {
	if _, err := f.Operation(ctx, id); err != nil {
		return appliance.Operation{}, err
	}
	f.step(id, func(o *appliance.Operation) { o.State = appliance.OpCancelled })
	return f.Operation(ctx, id)
}

func (f *fake) Watch(ctx context.Context, id string) (<-chan appliance.Operation, error) {
	if _, err := f.Operation(ctx, id); err != nil {
		return nil, err
	}
	out := make(chan appliance.Operation, 1)
	go func() {
		defer close(out)
		var seen uint64
		for {
			f.mu.Lock()
			o, changed := f.ops[id], f.changed
			f.mu.Unlock()
			if o.Revision != seen {
				seen = o.Revision
				select {
				case out <- o:
				case <-ctx.Done():
					return
				}
			}
			if o.State.Final() {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (f *fake) TokenScope(_ context.Context, hash [32]byte) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	scope, ok := f.tokens[hash]
	return scope, ok, nil
}

func (f *fake) addToken(token, scope string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[sha256.Sum256([]byte(token))] = scope
}

func (f *fake) IdempotencyGet(_ context.Context, key string) ([32]byte, string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.keys[key]
	return k.hash, k.id, ok, nil
}

func (f *fake) IdempotencyPut(_ context.Context, key string, hash [32]byte, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[key] = fakeKey{hash, id}
	return nil
}

func (f *fake) called() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

const (
	adminToken = "admin-token-for-tests"
	readToken  = "read-token-for-tests"
)

// daemon is a server on real listeners.
type daemon struct {
	*fake
	unix *Client
	tcp  *Client
	addr string
	sock string
	stop func() // ends it and waits
}

// start runs a server over the fake until the test ends. change may alter its
// configuration.
func start(t *testing.T, f *fake, change func(*Config)) *daemon {
	t.Helper()
	f.addToken(adminToken, ScopeAdmin)
	f.addToken(readToken, ScopeRead)
	cfg := Config{Service: f, Logs: f, Operations: f, Tokens: f, Idempotency: f, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	sock := filepath.Join(t.TempDir(), "s")
	return serve(t, f, New(cfg), sock)
}

func serve(t *testing.T, f *fake, s *Server, sock string) *daemon {
	t.Helper()
	var lc net.ListenConfig
	ux, err := lc.Listen(t.Context(), "unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ux, tcp) }()
	d := &daemon{fake: f, sock: sock, addr: tcp.Addr().String(), unix: NewUnixClient(sock), tcp: NewTCPClient("http://"+tcp.Addr().String(), adminToken)}
	d.stop = sync.OnceFunc(func() {
		d.unix.Close()
		d.tcp.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve ended with %v", err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

// contextOfUnix is the context of a request by the daemon's own user over the
// unix socket.
func contextOfUnix(t *testing.T) context.Context {
	return context.WithValue(t.Context(), connKey{}, connInfo{unix: true, uid: os.Geteuid()})
}
