package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

const (
	connectLimit = time.Second
	// writeLimit bounds one insert. Under quorum durability an insert waits as long as
	// no standby confirms it.
	writeLimit = 10 * time.Second
	// retryPause is the least pause of a writer that no member lets write.
	retryPause = 2 * time.Millisecond
)

// Config says where and as whom the writers write.
type Config struct {
	Members  []appliance.HostPort
	Database string
	User     string
	Password appliance.Secret
	// Writers is the number of writers, each with a session of its own.
	Writers int
	// Pause is the time between two writes of a writer, or two attempts to. Machines that
	// are emulated can't keep up with a writer without pauses.
	Pause time.Duration
	// Through, if set, are the endpoints that the writers write and read through. Without
	// it they go to the members, one after the other.
	Through *Through
	// Dial opens the connections; nil stands for this machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Outcome is what a writer knows of one of its rows.
type Outcome string

// The outcomes. An unknown row may be there or not: the connection ended after the row
// was sent, or the server warned that it gave up waiting for a standby (01000).
const (
	Acknowledged Outcome = "acknowledged"
	Unknown      Outcome = "unknown"
)

// Row identifies a row.
type Row struct{ Writer, Seq int }

// Write is one insert. Times are of the monotonic clock, since the beginning of the run.
type Write struct {
	Row
	Outcome Outcome
	Member  string
	// Timeline is the primary's, of an acknowledged row.
	Timeline   uint32
	Sent, Told time.Duration
}

// Run is a run of writers.
type Run struct {
	cfg    Config
	begun  time.Time
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// acknowledged has, for each writer, the number of its last acknowledged row and one.
	acknowledged []atomic.Int64

	mu     sync.Mutex
	writes []Write
	reads  Reads
	misled []string
}

// Start makes the table drill.rows anew on the member that takes writes, and starts the
// writers. They write until [Run.Stop] is called or ctx ends.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	r := &Run{cfg: cfg, begun: time.Now(), acknowledged: make([]atomic.Int64, cfg.Writers)}
	w := writer{run: r}
	defer w.close(ctx)
	err := errors.New("no member takes writes")
	for i := 0; i < len(cfg.Members) && err != nil; i++ {
		if err = w.connect(ctx, w.door().limit); err == nil {
			_, err = w.conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS drill_rows (writer int, seq int, PRIMARY KEY (writer, seq)); TRUNCATE drill_rows")
		}
		if err != nil {
			w.next(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making the writers' table: %w", err)
	}
	ctx, r.cancel = context.WithCancel(ctx)
	for n := range cfg.Writers {
		r.wg.Go(func() {
			w := writer{run: r, number: n, member: w.member, through: cfg.Through.writes()}
			w.loop(ctx)
			w.close(ctx)
		})
		if cfg.Through != nil {
			r.wg.Go(func() { (&reader{writer{run: r, number: n, through: cfg.Through.reads()}}).loop(ctx) })
		}
	}
	return r, nil
}

// Stop ends the writers and returns what they wrote. A repeat returns the same.
func (r *Run) Stop() History {
	r.cancel()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return History{Writes: r.writes, Reads: r.reads, Misled: r.misled}
}

// Since returns the time since the beginning of the run, as the writes have it.
func (r *Run) Since() time.Duration { return time.Since(r.begun) }

// Acknowledged returns the number of rows so far that the members have acknowledged, or
// any member if none is named.
func (r *Run) Acknowledged(by ...string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, w := range r.writes {
		if w.Outcome == Acknowledged && (len(by) == 0 || slices.Contains(by, w.Member)) {
			n++
		}
	}
	return n
}

// writer writes rows one after the other, to whichever member takes them.
type writer struct {
	run    *Run
	number int
	// member is the index of the member that is tried.
	member int
	// through is set where the sessions lead through an endpoint.
	through *door
	conn    *pgx.Conn
	// warned is set by a warning that the server gave up waiting for a standby.
	warned bool
}

func (w *writer) loop(ctx context.Context) {
	for seq := 0; ctx.Err() == nil; {
		if w.conn == nil {
			if err := w.connect(ctx, w.door().limit); err != nil {
				w.next(ctx)
				continue
			}
		}
		write, sent := w.write(ctx, seq)
		if !sent {
			w.next(ctx)
			continue
		}
		w.run.mu.Lock()
		w.run.writes = append(w.run.writes, write)
		w.run.mu.Unlock()
		seq++
		if write.Outcome == Acknowledged {
			w.run.acknowledged[w.number].Store(int64(seq))
		}
		if write.Outcome != Acknowledged {
			w.next(ctx)
		}
		rest(ctx, w.run.cfg.Pause)
	}
}

const insertSQL = `INSERT INTO drill_rows VALUES ($1, $2)
RETURNING ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int, current_setting('cluster_name')`

// write inserts the row. It returns false if the row is certainly not there, as when
// the member is a standby.
func (w *writer) write(ctx context.Context, seq int) (Write, bool) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
	defer cancel()
	out := Write{Row: Row{w.number, seq}, Outcome: Unknown, Sent: w.run.Since()}
	w.warned = false
	var timeline int64
	var name string
	err := w.conn.QueryRow(limited, insertSQL, w.number, seq).Scan(&timeline, &name)
	out.Told = w.run.Since()
	if out.Member = name[strings.LastIndex(name, "/")+1:]; w.through == nil {
		out.Member = w.run.cfg.Members[w.member].Member
	}
	switch {
	case err == nil && !w.warned:
		out.Outcome, out.Timeline = Acknowledged, uint32(timeline) // #nosec G115 -- eight hexadecimal digits
	case err != nil && (refused(err) || pgconn.SafeToRetry(err)):
		w.noteMisled(err)
		return out, false
	}
	return out, true
}

// refused tells whether the server answered that it has not inserted the row. The end
// of the server (class 57) leaves that open.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code[:2] != "57" && pg.Code[:2] != "08"
}

// connect opens a session to the writer's member, for which it waits that long.
func (w *writer) connect(ctx context.Context, limit time.Duration) error {
	at := w.door()
	cfg, err := pgx.ParseConfig("host=127.0.0.1 user=app sslmode=disable passfile=/dev/null")
	if err != nil {
		return fmt.Errorf("preparing a session: %w", err)
	}
	cfg.Host, cfg.Port, cfg.Database = at.host, uint16(at.port), w.run.cfg.Database // #nosec G115 -- a port
	cfg.User, cfg.Password = w.run.cfg.User, w.run.cfg.Password.Reveal()
	cfg.TLSConfig, cfg.Fallbacks, cfg.ConnectTimeout = nil, nil, limit
	cfg.RuntimeParams = map[string]string{"application_name": "pgapp drill"}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if w.run.cfg.Dial != nil {
		cfg.DialFunc = w.run.cfg.Dial
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		w.warned = w.warned || n.Code == "01000" || n.Code == "57P01"
	}
	w.conn, err = pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		w.conn = nil
		return fmt.Errorf("connecting to %s: %w", net.JoinHostPort(at.host, strconv.Itoa(at.port)), err)
	}
	return nil
}

// next goes on with the next member, after a short pause.
func (w *writer) next(ctx context.Context) {
	w.close(ctx)
	w.member = (w.member + 1) % len(w.run.cfg.Members)
	rest(ctx, max(retryPause, w.run.cfg.Pause))
}

func rest(ctx context.Context, pause time.Duration) {
	if pause == 0 {
		return
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (w *writer) close(ctx context.Context) {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectLimit)
	defer cancel()
	_ = w.conn.Close(ctx) // its rows' outcomes are known
	w.conn = nil
}
