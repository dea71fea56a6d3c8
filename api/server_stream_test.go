package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
)

// stream is an open stream of events.
type stream struct {
	header http.Header
	err    error  // the problem that came instead
	close  func() // as a client does that loses interest
	next   func() string
}

// events opens the stream of an operation; next returns its lines with ids.
func events(t *testing.T, d *daemon, id, last string) stream {
	t.Helper()
	h := http.Header{}
	if last != "" {
		h.Set("Last-Event-ID", last)
	}
	resp, err := d.unix.send(t.Context(), http.MethodGet, base+operationURL(id)+"/events", nil, h)
	if err != nil {
		t.Fatal(err)
	}
	end := func() { _ = resp.Body.Close() }
	t.Cleanup(end)
	r := bufio.NewReader(resp.Body)
	return stream{header: resp.Header, err: ProblemOf(resp), close: end, next: func() string {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err.Error()
			}
			if strings.HasPrefix(line, "id:") {
				return strings.TrimSpace(line)
			}
		}
	}}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	o, err := d.unix.Up(t.Context(), appliance.Spec{Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	first := events(t, d, o.ID, "")
	if first.header.Get("Content-Type") != "text/event-stream" || first.header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("headers %v", first.header)
	}
	if got := first.next(); got != "id: 1" {
		t.Fatalf("on connect: %s", got)
	}
	resumed := events(t, d, o.ID, "1") // has seen the newest
	behind := events(t, d, o.ID, "0")
	if got := behind.next(); got != "id: 1" {
		t.Fatalf("one that is behind got %s", got)
	}
	time.Sleep(50 * time.Millisecond)
	d.step(o.ID, func(*appliance.Operation) {})
	for name, f := range map[string]func() string{"first": first.next, "resumed": resumed.next, "behind": behind.next} {
		if got := f(); got != "id: 2" {
			t.Fatalf("%s: after a step %s", name, got)
		}
	}
	d.finish(o.ID)
	for name, f := range map[string]func() string{"first": first.next, "resumed": resumed.next, "behind": behind.next} {
		if got := f(); got != "id: 3" {
			t.Fatalf("%s: at the end %s", name, got)
		}
		if got := f(); got != "EOF" {
			t.Fatalf("%s: after the end %s", name, got)
		}
	}
	// The final snapshot comes even to one that has it, so that none waits for ever.
	if got := events(t, d, o.ID, "3").next(); got != "id: 3" {
		t.Fatalf("a resume after the end got %s", got)
	}
	if err := events(t, d, "nobody", "").err; !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("events of no operation: %v", err)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.MaxStreams = 2 })
	o, err := d.unix.Up(t.Context(), appliance.Spec{Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := events(t, d, o.ID, ""), events(t, d, o.ID, "")
	first.next()
	second.next()
	third := events(t, d, o.ID, "")
	if !appliance.IsProblem(third.err, appliance.ErrTooMany) || third.header.Get("Retry-After") == "" {
		t.Fatalf("a third stream: %v, %v", third.header, third.err)
	}
	first.close()
	// The place is free once the server has noticed; the client tries again by itself.
	go d.finish(o.ID)
	if _, err := d.unix.WatchOperation(t.Context(), o.ID, nil); err != nil {
		t.Fatal(err)
	}
}

// Neither streams nor followed logs hold the daemon's end up.
func TestServerStopEndsStreams(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	o, err := d.unix.Up(t.Context(), appliance.Spec{Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	events(t, d, o.ID, "").next()
	logs := make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		logs <- d.unix.Logs(t.Context(), "main", "node1", true, w)
		_ = w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || line != "node1: ready\n" {
		t.Fatalf("log line %q, %v", line, err)
	}
	start := time.Now()
	d.stop()
	if took := time.Since(start); took > shutdownGrace/2 {
		t.Errorf("stopping took %s", took)
	}
	if err := <-logs; err != nil {
		t.Errorf("the followed log ended with %v", err)
	}
}

func TestLogFailures(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, func(c *Config) {
		c.DaemonLogs = func(_ context.Context, _ bool, w io.Writer) error {
			_, err := io.WriteString(w, "the daemon's\n")
			return err
		}
	})
	if _, err := f.Up(t.Context(), appliance.Spec{Name: "main"}, appliance.UpOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := d.unix.Logs(t.Context(), "other", "", false, io.Discard); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("logs of no cluster: %v", err)
	}
	f.logs = func(_ context.Context, w io.Writer) error {
		_, err := fmt.Fprintln(w, "half")
		return errors.Join(err, errors.New("gone"))
	}
	if err := d.unix.Logs(t.Context(), "main", "", false, io.Discard); err == nil {
		t.Error("a log that broke off looks complete")
	}
	var b strings.Builder
	if err := d.unix.DaemonLogs(t.Context(), false, &b); err != nil || b.String() != "the daemon's\n" {
		t.Errorf("daemon's log %q, %v", b.String(), err)
	}
}

// A stream outlives the time that a request may take to arrive, with
// heartbeats, and so does a slow answer.
func TestStreamsOutliveTheReadTimeout(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := New(Config{Service: f, Logs: f, Operations: f})
	s.gate.timing = timing{header: time.Second, read: time.Second, beat: 100 * time.Millisecond}
	d := serve(t, f, s, filepath.Join(t.TempDir(), "s"))
	o, err := f.Up(t.Context(), appliance.Spec{Name: "main"}, appliance.UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.unix.Do(t.Context(), http.MethodGet, base+operationURL(o.ID)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	time.AfterFunc(2*time.Second, func() { f.finish(o.ID) })
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(b), `"state":"succeeded"`) || strings.Count(string(b), ": pgapp") < 4 {
		t.Errorf("the stream was\n%s\n%v", b, err)
	}
	f.logs = func(ctx context.Context, w io.Writer) error {
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := io.WriteString(w, "late\n")
		return err
	}
	var late strings.Builder
	if err := d.unix.Logs(t.Context(), "main", "", false, &late); err != nil || late.String() != "late\n" {
		t.Errorf("a slow log: %q, %v", late.String(), err)
	}
}

// A token that was revoked loses the streams that it opened.
func TestRevokedTokenLosesItsStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := New(Config{Service: f, Logs: f, Operations: f, Tokens: f})
		f.addToken("t", ScopeRead)
		ctx := context.WithValue(t.Context(), callerKey{}, caller{hash: sha256.Sum256([]byte("t"))})
		ctx, cancel := s.gate.streamContext(ctx)
		defer cancel()
		time.Sleep(10 * heartbeat)
		if ctx.Err() != nil {
			t.Fatal("the stream of a good token ended")
		}
		f.mu.Lock()
		clear(f.tokens)
		f.mu.Unlock()
		time.Sleep(heartbeat + time.Second)
		if ctx.Err() == nil {
			t.Error("the stream goes on")
		}
	})
}
