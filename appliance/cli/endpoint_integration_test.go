//go:build integration

package cli_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// caller connects through an endpoint, again and again, and writes a row or reads in each
// connection.
type caller struct {
	stop context.CancelFunc
	done sync.WaitGroup
	// made counts the connections that did their work.
	made atomic.Int64

	mu sync.Mutex
	// refused are connections that did not begin, lost those that were cut in the middle.
	refused, lost []error
}

func (b *box) calling(url, query string) *caller {
	ctx, stop := context.WithCancel(b.t.Context())
	c := &caller{stop: stop}
	b.t.Cleanup(stop)
	c.done.Go(func() {
		for ; ctx.Err() == nil; pace(ctx) {
			begun, err := b.once(ctx, url, query)
			if err == nil {
				c.made.Add(1)
				continue
			}
			if ctx.Err() != nil {
				return
			}
			c.mu.Lock()
			if begun {
				c.lost = append(c.lost, err)
			} else {
				c.refused = append(c.refused, err)
			}
			c.mu.Unlock()
		}
	})
	return c
}

// pace leaves processors to the other tests between two connections.
func pace(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(15 * time.Millisecond):
	}
}

// once connects, does the query, and tells whether the connection had begun.
func (b *box) once(ctx context.Context, url, query string) (begun bool, err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return false, err
	}
	// The last connection, since pgx tries once more where the first was refused.
	var last *heard
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := b.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		last = &heard{Conn: c}
		return last, nil
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return last != nil && last.asked.Load() && cut(err), err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, query)
	return true, err
}

// heard is a connection that knows whether a server has asked for authentication. Then an
// endpoint led there before it was closed, and a cut ends a connection that had begun.
type heard struct {
	net.Conn
	asked atomic.Bool
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 && p[0] == 'R' {
		h.asked.Store(true)
	}
	return n, err
}

// cut tells whether the error is the end of the connection or of its server, 57P01 and
// 57P02 in PostgreSQL's documentation, appendix A.
func cut(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57P01" || pg.Code == "57P02"
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// more waits until the caller has made more connections.
func (b *box) more(c *caller) {
	b.t.Helper()
	before := c.made.Load()
	b.eventually("more connections do their work", func() bool { return c.made.Load() > before+10 })
}

// endedCalling ends the caller and wants at most that many connections to have been
// refused, and lost.
func (b *box) endedCalling(c *caller, what string, refused, lost int) {
	b.t.Helper()
	c.stop()
	c.done.Wait()
	if len(c.refused) > refused {
		b.t.Errorf("%s: %d connections were refused, want at most %d; the first by %v", what, len(c.refused), refused, c.refused[0])
	}
	if len(c.lost) > lost {
		b.t.Errorf("%s: %d connections were lost, want at most %d; the first by %v", what, len(c.lost), lost, c.lost[0])
	}
	b.t.Logf("%s: %d connections, %d lost", what, c.made.Load(), len(c.lost))
}

func endpointBox(t *testing.T) (b *box, rw, ro string) {
	t.Helper()
	b = newBox(t).shareTree()
	b.env = append(b.env, "PGAPP_AUTOMATIC=on", "PGAPP_DURABILITY=quorum")
	b.up("--standbys", "2")
	url := func(role string) string {
		return strings.TrimSpace(b.ok("url", "--role", role, "--only", "endpoint", "--driver", "pgx", "--show-password").out)
	}
	rw, ro = url("rw"), url("ro")
	b.ok("psql", "--", "-Xqc", "CREATE TABLE called (n bigserial)")
	return b, rw, ro
}

const (
	callsToWrite = "INSERT INTO called DEFAULT VALUES"
	callsToRead  = "SELECT count(*) FROM film"
)

// TestEndpointsFollowThePrimary moves and kills the primary under clients that connect
// through the endpoints: those that begin wait, and none is refused.
func TestEndpointsFollowThePrimary(t *testing.T) {
	t.Parallel()
	b, rw, ro := endpointBox(t)
	writes, reads := b.calling(rw, callsToWrite), b.calling(ro, callsToRead)
	b.more(writes)
	b.more(reads)
	b.ok("switchover", "--to", "node1")
	b.led("node1")
	b.more(writes)
	b.endedCalling(writes, "writes through a switchover", 0, 1)
	writes = b.calling(rw, callsToWrite)
	b.more(writes)
	killAndWait(t, b.postmaster("node1"))
	b.led(b.replaced("node1"))
	b.more(writes)
	b.more(reads)
	b.endedCalling(writes, "writes through a killed primary", 0, 1)
	// A standby that is promoted or restarted meanwhile ends its sessions, and may refuse one
	// that is about to begin.
	b.endedCalling(reads, "reads", 2, 4)
	if s := b.ps(); s.Endpoints == nil || !strings.Contains(rw, s.Endpoints.RWAddress()) || !strings.Contains(ro, s.Endpoints.ROAddress()) {
		t.Errorf("ps shows the endpoints %+v, url %s and %s", s.Endpoints, rw, ro)
	}
	if out := b.ok("psql", "--role", "ro", "--", "-XAtc", "SELECT pg_is_in_recovery()").out; strings.TrimSpace(out) != "t" {
		t.Errorf("the endpoint for reads leads to a primary: %q", out)
	}
}

// TestEndpointsOutliveTheDaemon kills, stops and freezes the daemon under clients that
// notice nothing, and kills the endpoints' process, which comes back.
func TestEndpointsOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	b, rw, ro := endpointBox(t)
	writes, reads := b.calling(rw, callsToWrite), b.calling(ro, callsToRead)
	goOn := func(what string) {
		t.Helper()
		b.more(writes)
		b.more(reads)
		t.Log("they go on: " + what)
	}
	goOn("at first")
	b.killDaemon()
	goOn("the daemon was killed")
	b.ok("info")
	goOn("a daemon was started")
	pid := b.pid()
	b.must(syscall.Kill(pid, syscall.SIGSTOP))
	goOn("the daemon is frozen")
	b.must(syscall.Kill(pid, syscall.SIGCONT))
	b.ok("shutdown")
	goOn("the daemon was shut down")
	b.ok("info")
	b.endedCalling(writes, "writes without a daemon", 0, 0)
	b.endedCalling(reads, "reads without a daemon", 0, 0)

	killAndWait(t, b.endpointProcess())
	b.eventually("the endpoint for writes is back", func() bool {
		_, err := b.once(t.Context(), rw, callsToWrite)
		var refused *net.OpError
		var pg *pgconn.PgError
		if err != nil && !errors.As(err, &refused) && !errors.As(err, &pg) {
			t.Errorf("connecting: %v", err)
		}
		return err == nil
	})
	b.ok("down", "--volumes", "--yes")
	if left, _ := filepath.Glob(filepath.Join(b.home, "endpoint*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if _, err := b.once(t.Context(), rw, callsToWrite); err == nil {
		t.Error("the endpoint for writes leads somewhere")
	}
}

// endpointProcess is the process behind the home's endpoints.
func (b *box) endpointProcess() int {
	b.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	b.must(err)
	for _, path := range all {
		cmd, _ := os.ReadFile(path) // the process may have ended
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && strings.Contains(string(cmd), "endpoint-process\x00") && strings.Contains(string(cmd), b.home+"\x00") {
			return pid
		}
	}
	b.t.Fatal("no process of the endpoints runs")
	return 0
}
