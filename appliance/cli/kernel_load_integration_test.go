//go:build integration

package cli_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// kernelLoad writes through an endpoint that the kernel leads: in a session that lasts as long
// as it can, and in a connection for each row.
type kernelLoad struct {
	b      *box
	run    *drill.Run
	calls  *caller
	before int
	// resets counts the connections that were refused up to the last change.
	resets int
}

func (b *box) kernelLoad(rw string) *kernelLoad {
	b.t.Helper()
	cfg := b.drillConfig()
	s := b.ps()
	if s.Endpoints == nil || !s.Endpoints.Kernel {
		b.t.Fatalf("the kernel leads nothing: %+v", s.Endpoints)
	}
	cfg.Writers = 1
	cfg.Through = &drill.Through{Endpoints: s.Endpoints.Endpoints, Host: s.Endpoints.Host, Wait: appliance.DefaultEndpointWait}
	l := &kernelLoad{b: b, before: b.called()}
	var err error
	l.run, err = drill.Start(context.WithoutCancel(b.t.Context()), cfg)
	b.must(err)
	b.t.Cleanup(func() { l.run.Stop() })
	l.calls = b.calling(rw, callsToWrite)
	l.goesOn("at first")
	return l
}

// called counts the rows that callers have written.
func (b *box) called() int {
	b.t.Helper()
	n, err := strconv.Atoi(b.rows("SELECT count(*) FROM called"))
	b.must(err)
	return n
}

// goesOn wants rows of both kinds.
func (l *kernelLoad) goesOn(what string) {
	l.b.t.Helper()
	l.b.moreWritten(l.run)
	l.b.more(l.calls)
	l.b.t.Log("it goes on: " + what)
}

// changed wants connections to have been refused with a reset during a change of primary, and
// the load to go on after it.
func (l *kernelLoad) changed(what string) {
	l.b.t.Helper()
	l.goesOn(what)
	l.calls.mu.Lock()
	defer l.calls.mu.Unlock()
	now := 0
	for _, err := range l.calls.refused {
		if errors.Is(err, syscall.ECONNREFUSED) {
			now++
		}
	}
	if now == l.resets {
		l.b.t.Errorf("no connection was refused with a reset during %s", what)
	}
	l.resets = now
}

// kept ends the load. Every acknowledged row is there, no connection led to a member that
// takes no writes, and those that began while the endpoint was closed were answered with a
// reset at once.
func (l *kernelLoad) kept() {
	t := l.b.t
	t.Helper()
	l.calls.stop()
	l.calls.done.Wait()
	l.b.kept(l.run)
	if made, has := int(l.calls.made.Load()), l.b.called()-l.before; has < made {
		t.Errorf("%d connections wrote a row each, and there are %d", made, has)
	}
	for _, err := range l.calls.refused {
		if !errors.Is(err, syscall.ECONNREFUSED) && !cutWhileItBegan(err) {
			t.Errorf("a connection was not refused with a reset: %v", err)
		}
	}
	for _, err := range l.calls.lost {
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "25006" { // read_only_sql_transaction
			t.Errorf("a connection led to a member that takes no writes: %v", err)
		}
	}
	t.Logf("%d connections wrote, %d were refused, %d cut", l.calls.made.Load(), l.resets, len(l.calls.refused)-l.resets+len(l.calls.lost))
}

// cutWhileItBegan tells whether the connection led to the former primary before the endpoint
// was closed: it was cut in its first messages, or the server was about to end.
func cutWhileItBegan(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57P03" && strings.Contains(pg.Message, "shutting down")
	}
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// yieldsPort has another program get the endpoint's port while its process is away. The
// kernel leaves the port to that program, until it is free again.
func (b *box) yieldsPort(rw string) {
	b.t.Helper()
	daemon, at := b.pid(), b.ps().Endpoints.RWAddress()
	b.must(syscall.Kill(daemon, syscall.SIGSTOP))
	killAndWait(b.t, b.endpointProcess())
	var other net.Listener
	b.eventually("another program gets the port", func() bool {
		err := b.net.in(func() (err error) {
			other, err = net.Listen("tcp4", at)
			return err
		})
		return err == nil
	})
	b.must(syscall.Kill(daemon, syscall.SIGCONT))
	const greeting = "another program\n"
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, greeting)
			_ = c.Close()
		}
	})
	b.eventually("a client of the other program gets there", func() bool {
		c, err := b.dial(b.t.Context(), "tcp4", at)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Second)) // PostgreSQL says nothing first
		said, _ := io.ReadAll(c)
		return string(said) == greeting
	})
	if s := b.ps(); s.Endpoints == nil || s.Endpoints.Writes == nil || s.Endpoints.Writes.Problem == "" {
		b.t.Errorf("ps says nothing of the port: %+v", s.Endpoints)
	}
	b.must(other.Close())
	work.Wait()
	b.works(rw, callsToWrite, "another program's end")
}
