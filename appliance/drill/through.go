package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// What the writers go through, in a [Report].
const (
	ThroughEndpoint = "endpoint"
	ThroughMembers  = "members"
)

// Through are the endpoints that writers write and read through.
type Through struct {
	appliance.Endpoints
	// Host is their address, 127.0.0.1 if empty.
	Host string
	// Wait is how long an endpoint lets a new connection wait.
	Wait time.Duration
}

// door is where a session is opened.
type door struct {
	host  string
	port  int
	limit time.Duration
}

// endpointMore is how much longer than the endpoint a writer waits, so that the endpoint's
// answer is heard.
const endpointMore = 2 * time.Second

func (t *Through) writes() *door {
	if t == nil {
		return nil
	}
	return &door{cmp.Or(t.Host, appliance.EndpointHost), t.RW, t.Wait + endpointMore}
}

func (t *Through) reads() *door {
	return &door{cmp.Or(t.Host, appliance.EndpointHost), t.RO, t.Wait + endpointMore}
}

// door is where the writer's next session is opened.
func (w *writer) door() door {
	if w.through != nil {
		return *w.through
	}
	m := w.run.cfg.Members[w.member]
	return door{m.Host, m.Port, connectLimit}
}

// noteMisled notes a session that the endpoint led to a member that takes no writes: the
// endpoint cuts the sessions of a primary before the primary becomes a standby.
func (w *writer) noteMisled(err error) {
	var pg *pgconn.PgError
	if w.through == nil || !errors.As(err, &pg) || pg.Code != "25006" { // read_only_sql_transaction
		return
	}
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	w.run.misled = append(w.run.misled, fmt.Sprintf("%s led a writer to a member that takes no writes: %s", net.JoinHostPort(w.through.host, strconv.Itoa(w.through.port)), pg.Message))
}

// Reads are what the writers read of their own rows through the endpoint for reads.
type Reads struct {
	Count int `json:"count"`
	// Older counts those that lacked a row that was acknowledged before. A standby replays
	// a row later than it is acknowledged, so these break no rule.
	Older int `json:"older"`
}

func (r Reads) plus(o Reads) Reads { return Reads{r.Count + o.Count, r.Older + o.Older} }

const (
	// readPause is the pause between two reads of a writer.
	readPause = 10 * time.Millisecond
	// readsPerSession is after how many reads a session ends, so that each standby gets some.
	readsPerSession = 50
)

// reader reads through the endpoint what the writer of its number has written.
type reader struct{ writer }

func (r *reader) loop(ctx context.Context) {
	defer r.close(ctx)
	for n := 0; ctx.Err() == nil; n++ {
		if r.conn != nil && n%readsPerSession == 0 {
			r.close(ctx)
		}
		if r.conn == nil && r.connect(ctx, r.door().limit) != nil {
			rest(ctx, readPause)
			continue
		}
		if err := r.read(ctx); err != nil {
			r.close(ctx)
		}
		rest(ctx, max(readPause, r.run.cfg.Pause))
	}
}

// read reads once, and counts the read.
func (r *reader) read(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	want := r.run.acknowledged[r.number].Load()
	var has int64
	err := r.conn.QueryRow(limited, "SELECT coalesce(max(seq) + 1, 0) FROM drill_rows WHERE writer = $1", r.number).Scan(&has)
	if err != nil {
		return err
	}
	r.run.mu.Lock()
	defer r.run.mu.Unlock()
	r.run.reads.Count++
	if has < want {
		r.run.reads.Older++
	}
	return nil
}

// againPause is the pause between two attempts to get through an endpoint that was ended.
const againPause = 5 * time.Millisecond

// leadsAgain waits until a session through the endpoint for writes writes, and notes how
// long that took.
func (p *played) leadsAgain(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, p.drill.Limit)
	defer cancel()
	through := p.drill.Through
	if through == nil {
		through = &Through{Endpoints: p.before.Endpoints.Endpoints, Host: p.before.Endpoints.Host, Wait: appliance.DefaultEndpointWait}
	}
	w := writer{run: p.run, through: through.writes()}
	defer w.close(ctx)
	var last error
	err := wait.Until(limited, againPause, func(ctx context.Context) (bool, error) {
		if last = w.connect(ctx, w.door().limit); last == nil {
			_, last = w.conn.Exec(ctx, "CREATE TEMP TABLE drill_again ()")
		}
		if last != nil {
			w.close(ctx)
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the endpoint that was ended does not lead to the primary after %s: %w", p.drill.Limit, errors.Join(err, last))
	}
	p.Endpoint = Millis(time.Since(p.begun))
	return nil
}

// misses says what the endpoints lack to lead to the primary and to standbys, empty if
// nothing.
func misses(s appliance.ClusterStatus) string {
	e := s.Endpoints
	switch {
	case e == nil:
		return "the cluster has no endpoints"
	case e.Problem != "" || e.Writes == nil || e.Reads == nil:
		return "the endpoints do not answer: " + e.Problem
	case e.Writes.Problem+e.Reads.Problem != "":
		return "the endpoints do not listen: " + e.Writes.Problem + e.Reads.Problem
	case !slices.Equal(e.Writes.To, []string{s.Primary}):
		return fmt.Sprintf("the endpoint for writes leads to %q", e.Writes.To)
	case len(e.Reads.To) == 0:
		return "the endpoint for reads leads to no standby"
	}
	return ""
}
