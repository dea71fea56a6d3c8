package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pgapp/appliance"
)

func TestMain(m *testing.M) {
	// Goroutines that run after all servers have stopped are leaks.
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

func standbys(n int) *int { return &n }

// The requests of a cluster's whole life, over both listeners.
func TestClientConversation(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"unix", "tcp"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			d := start(t, newFake(), nil)
			c := d.unix
			if via == "tcp" {
				c = d.tcp
			}
			conversation(t, d, c)
		})
	}
}

func conversation(t *testing.T, d *daemon, c *Client) {
	t.Helper()
	ctx := t.Context()
	info, err := c.Info(ctx)
	if err != nil || info.Version != "v0" {
		t.Fatalf("Info = %+v, %v", info, err)
	}
	if l, err := c.Clusters(ctx); err != nil || l == nil || len(l) != 0 {
		t.Fatalf("Clusters of an empty home = %v, %v", l, err)
	}
	o, err := c.Up(ctx, appliance.Spec{Name: "main", Standbys: standbys(2)})
	if err != nil || o.State != appliance.OpRunning || o.Kind != appliance.OpUp {
		t.Fatalf("Up = %+v, %v", o, err)
	}
	_, err = c.Submit(ctx, "main", appliance.OpStop, appliance.OperationParams{})
	if p := appliance.AsProblem(err); !appliance.IsProblem(err, appliance.ErrOperationRunning) || p.Operation != o.ID {
		t.Fatalf("Submit while %s runs: %+v", o.ID, err)
	}
	go d.finish(o.ID)
	if o, err = c.WatchOperation(ctx, o.ID, nil); err != nil || o.State != appliance.OpSucceeded {
		t.Fatalf("WatchOperation = %+v, %v", o, err)
	}
	if st, err := c.Status(ctx, "main"); err != nil || len(st.Members) != 3 || st.Spec == nil {
		t.Fatalf("Status = %+v, %v", st, err)
	}
	if r, err := c.Verify(ctx, "main"); err != nil || !r.OK || len(r.Checks) != 1 {
		t.Fatalf("Verify = %+v, %v", r, err)
	}
	if cn, err := c.Connection(ctx, "main", "rw", true); err != nil || cn.Password != "sesame" || cn.Role != "rw" {
		t.Fatalf("Connection = %+v, %v", cn, err)
	}
	if cn, err := c.Connection(ctx, "main", "ro", false); err != nil || cn.Password != "" || cn.Role != "ro" {
		t.Fatalf("Connection = %+v, %v", cn, err)
	}
	var b bytes.Buffer
	if err := c.Logs(ctx, "main", "node1", false, &b); err != nil || b.String() != "node1: ready\n" {
		t.Fatalf("Logs wrote %q, %v", b.String(), err)
	}
	for _, kind := range []appliance.OperationKind{appliance.OpStop, appliance.OpStart, appliance.OpRestart, appliance.OpReinit} {
		params := appliance.OperationParams{Member: "node1"}
		o, err := c.Submit(ctx, "main", kind, params)
		if err != nil || o.Kind != kind || o.Params != params {
			t.Fatalf("Submit %s = %+v, %v", kind, o, err)
		}
		if o, err = c.Cancel(ctx, o.ID); err != nil || o.State != appliance.OpCancelled {
			t.Fatalf("Cancel = %+v, %v", o, err)
		}
	}
	o, err = c.Submit(ctx, "main", appliance.OpDestroy, appliance.OperationParams{})
	if err != nil || o.Kind != appliance.OpDestroy {
		t.Fatalf("Submit destroy = %+v, %v", o, err)
	}
	if l, err := c.Operations(ctx, "main"); err != nil || len(l) != 6 || l[0].ID != o.ID {
		t.Fatalf("Operations = %+v, %v", l, err)
	}
	if l, err := c.Operations(ctx, "other"); err != nil || len(l) != 0 {
		t.Fatalf("Operations of another cluster = %+v, %v", l, err)
	}
}

func TestProblemsKeepEverything(t *testing.T) {
	t.Parallel()
	want := &appliance.Problem{
		ID: appliance.ErrHostNoKVM, Message: "no KVM", Hint: "load it", Operation: "op9", Detail: "line 1\nline 2",
		Fields: []appliance.FieldError{{Field: "parameters.work_mem", Message: "is odd"}},
	}
	f := newFake()
	f.fail = want
	d := start(t, f, nil)
	_, err := d.unix.Status(t.Context(), "main")
	got := appliance.AsProblem(err)
	if got == nil || got.ID != want.ID || got.Message != want.Message || got.Hint != want.Hint || got.Operation != want.Operation ||
		got.Detail != want.Detail || !slices.Equal(got.Fields, want.Fields) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestClientReportsUnreachableDaemon(t *testing.T) {
	t.Parallel()
	c := NewUnixClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Info(t.Context()); !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) {
		t.Errorf("no socket: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WatchOperation(ctx, "op1", nil); !appliance.IsProblem(err, appliance.ErrTimeout) {
		t.Errorf("watching nobody: %v", err)
	}
}

// A watch goes on after a restart of the daemon and misses no final snapshot.
func TestWatchSurvivesADaemonRestart(t *testing.T) {
	t.Parallel()
	f := newFake()
	sock := filepath.Join(t.TempDir(), "s")
	s := New(Config{Service: f, Logs: f, Operations: f})
	d := serve(t, f, s, sock)
	o, err := d.unix.Up(t.Context(), appliance.Spec{Name: "main"})
	if err == nil {
		t.Fatal("an Idempotency-Key was taken by a server that can't keep it")
	}
	o, err = f.Up(t.Context(), appliance.Spec{Name: "main"}, appliance.UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	revisions := make(chan uint64, 100)
	done := make(chan error, 1)
	c := NewUnixClient(sock)
	defer c.Close()
	go func() {
		last, err := c.WatchOperation(t.Context(), o.ID, func(o appliance.Operation) { revisions <- o.Revision })
		if err == nil && last.State != appliance.OpSucceeded {
			err = last.Error
		}
		done <- err
	}()
	if r := <-revisions; r != 1 {
		t.Fatalf("first revision %d", r)
	}
	d.stop()
	f.step(o.ID, func(*appliance.Operation) {})
	time.Sleep(150 * time.Millisecond) // the client finds nobody meanwhile
	serve(t, f, s, sock)
	if r := <-revisions; r != 2 {
		t.Fatalf("after the restart: revision %d", r)
	}
	f.finish(o.ID)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r := <-revisions; r != 3 {
		t.Fatalf("last revision %d", r)
	}
}

// A command whose daemon is killed between two of its requests goes on with the one that
// OnLost starts. What may have been done is not asked for twice.
func TestRequestsSurviveALostDaemon(t *testing.T) {
	t.Parallel()
	f := newFake()
	sock := filepath.Join(t.TempDir(), "s")
	s := New(Config{Service: f, Logs: f, Operations: f, Idempotency: f})
	c := NewUnixClient(sock)
	defer c.Close()
	lost := 0
	c.OnLost = func(context.Context) error {
		if lost++; lost == 2 {
			serve(t, f, s, sock)
		}
		return nil
	}
	if _, err := c.Info(t.Context()); !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) || lost != 0 {
		t.Errorf("a look: %v, OnLost called %d times", err, lost)
	}
	if _, err := c.Up(t.Context(), appliance.Spec{Name: "main"}); err != nil || lost != 2 {
		t.Errorf("a change that was never sent: %v, OnLost called %d times", err, lost)
	}
	if _, err := c.Status(t.Context(), "main"); err != nil {
		t.Errorf("a read: %v", err)
	}
}

// unanswered is a connection whose answers don't arrive: they are read, so that the daemon
// has done what it was asked for.
type unanswered struct{ net.Conn }

func (u unanswered) Read(b []byte) (int, error) {
	if _, err := u.Conn.Read(b); err != nil {
		return 0, err
	}
	return 0, io.ErrUnexpectedEOF
}

// A daemon that is killed after it has begun an operation and before it has answered is asked
// again with the same key, unless the request begins none.
func TestUnansweredChangeIsAskedForAgain(t *testing.T) {
	t.Parallel()
	f := newFake()
	sock := filepath.Join(t.TempDir(), "s")
	serve(t, f, New(Config{Service: f, Logs: f, Operations: f, Idempotency: f}), sock)
	var dials atomic.Int32
	c := newClient("http://pgapp", "", sock, func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", sock)
		if err == nil && dials.Add(1)%2 == 1 {
			conn = unanswered{conn}
		}
		return conn, err
	})
	defer c.Close()
	c.OnLost = func(context.Context) error { return nil }
	o, err := c.Up(t.Context(), appliance.Spec{Name: "main"})
	all, _ := f.Operations(t.Context(), "main")
	if err != nil || len(all) != 1 || all[0].ID != o.ID || dials.Load() != 2 {
		t.Fatalf("operation %q, %v: %d operations, %d connections, want 1 and 2", o.ID, err, len(all), dials.Load())
	}
	c.Close() // the next request needs a connection of its own
	if _, err := c.Cancel(t.Context(), o.ID); !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) || dials.Load() != 3 {
		t.Errorf("a cancel whose answer broke off: %v, %d connections in all", err, dials.Load())
	}
}

func TestRepeatedEnds(t *testing.T) {
	t.Parallel()
	gone := appliance.NewProblem(appliance.ErrDaemonUnreachable, "gone: %w", io.ErrUnexpectedEOF)
	refused := appliance.NewProblem(appliance.ErrDaemonUnreachable, "gone: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	other := appliance.NewProblem(appliance.ErrConflict, "no")
	for name, tc := range map[string]struct {
		safe     bool
		answers  []error // the last one again and again
		onLost   error
		want     error
		attempts int
	}{
		"a read whose answer broke off":            {safe: true, answers: []error{gone, nil}, attempts: 2},
		"a change whose answer broke off":          {answers: []error{gone, nil}, want: gone, attempts: 1},
		"a change that was never sent":             {answers: []error{refused, refused, nil}, attempts: 3},
		"the daemon refuses":                       {safe: true, answers: []error{gone, other}, want: other, attempts: 2},
		"the daemon can't be started":              {safe: true, answers: []error{gone}, onLost: other, want: other, attempts: 1},
		"the caller has no time for a dead daemon": {safe: true, answers: []error{gone}, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			n := 0
			err := repeated(ctx, tc.safe, func(context.Context) error { return tc.onLost }, func(context.Context) error {
				n++
				return tc.answers[min(n, len(tc.answers))-1]
			})
			if !errors.Is(err, tc.want) || tc.attempts > 0 && n != tc.attempts {
				t.Errorf("%v after %d attempts, want %v after %d", err, n, tc.want, tc.attempts)
			}
		})
	}
}
