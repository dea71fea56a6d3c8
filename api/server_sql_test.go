package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
)

// fakeSQL keeps what clients send in memory.
type fakeSQL struct {
	mu   sync.Mutex
	kept map[string]string
	err  error // of the last body
}

// KeepSQL implements SQLFiles.
func (f *fakeSQL) KeepSQL(_ context.Context, cluster, name string, in io.Reader) (SQLFile, error) {
	b, err := io.ReadAll(in)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; err != nil {
		return SQLFile{}, err
	}
	if f.kept == nil {
		f.kept = map[string]string{}
	}
	f.kept[cluster+"/"+name] = string(b)
	return SQLFile{Path: "/kept/" + cluster + "/" + name, Bytes: int64(len(b))}, nil
}

// DropSQL implements SQLFiles.
func (f *fakeSQL) DropSQL(_ context.Context, cluster string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.kept {
		if strings.HasPrefix(name, cluster+"/") {
			delete(f.kept, name)
		}
	}
}

func (f *fakeSQL) get(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept[name]
}

// countedSQL counts what was kept.
type countedSQL struct {
	*fakeSQL
	w *world
}

// KeepSQL implements SQLFiles.
func (c *countedSQL) KeepSQL(ctx context.Context, cluster, name string, in io.Reader) (SQLFile, error) {
	f, err := c.fakeSQL.KeepSQL(ctx, cluster, name, in)
	if err == nil {
		c.w.other.Add(1)
	}
	return f, err
}

func TestSendSQL(t *testing.T) {
	t.Parallel()
	sql := &fakeSQL{}
	d := start(t, newFake(), func(c *Config) { c.SQLFiles = sql })
	c := NewTCPClient("http://"+d.addr, adminToken)
	large := bytes.Repeat([]byte("SELECT 1;\n"), maxBodyBytes/5) // twice what other bodies may have
	got, err := c.SendSQL(t.Context(), "main", "1-stdin", bytes.NewReader(large))
	if err != nil || got.Path != "/kept/main/1-stdin" || got.Bytes != int64(len(large)) || sql.get("main/1-stdin") != string(large) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"..", "a/b", "A", ""} {
		if _, err := c.SendSQL(t.Context(), "main", name, strings.NewReader("x")); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	if _, err := NewTCPClient("http://"+d.addr, readToken).SendSQL(t.Context(), "main", "1-stdin", strings.NewReader("x")); !appliance.IsProblem(err, appliance.ErrForbidden) {
		t.Errorf("with scope read: %v", err)
	}
	// What was sent for a wish that is refused goes.
	bad := 99
	if _, err := c.Up(t.Context(), appliance.Spec{Name: "main", Standbys: &bad}); err == nil {
		t.Error("99 standbys were taken")
	}
}

// TestSendSQLOutlivesTheReadTimeout has a pipe that is silent for longer than
// any other body may be.
func TestSendSQLOutlivesTheReadTimeout(t *testing.T) {
	t.Parallel()
	sql := &fakeSQL{}
	s := New(Config{Service: newFake(), Logs: newFake(), Operations: newFake(), SQLFiles: sql})
	s.gate.timing.read = 20 * time.Millisecond
	d := serve(t, newFake(), s, filepath.Join(t.TempDir(), "s"))
	in, out := io.Pipe()
	go func() {
		_, _ = io.WriteString(out, "SELECT 1;\n")
		<-time.After(10 * s.gate.timing.read) // the pipe's silence
		_, _ = io.WriteString(out, "SELECT 2;\n")
		_ = out.Close()
	}()
	if _, err := d.unix.SendSQL(t.Context(), "main", "1-stdin", in); err != nil || sql.get("main/1-stdin") != "SELECT 1;\nSELECT 2;\n" {
		t.Errorf("%v, kept %q", err, sql.get("main/1-stdin"))
	}
}

// Nothing of an upload is kept when its client disconnects.
func TestInterruptedUploadIsAnError(t *testing.T) {
	t.Parallel()
	sql := &fakeSQL{}
	d := start(t, newFake(), func(c *Config) { c.SQLFiles = sql })
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Canceled) })
	defer stop()
	go func() {
		_, _ = io.WriteString(out, "SELECT 1;\n")
		cancel()
	}()
	if _, err := NewTCPClient("http://"+d.addr, adminToken).SendSQL(ctx, "main", "1-stdin", in); !errors.Is(err, context.Canceled) && !appliance.IsProblem(err, appliance.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
	if got := sql.get("main/1-stdin"); got != "" {
		t.Errorf("%q is kept", got)
	}
}
