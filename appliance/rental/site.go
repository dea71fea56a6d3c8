package rental

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"pgapp/appliance"
)

const (
	defaultPatience = 60 * time.Second
	defaultConns    = 8
	// attemptLimit bounds one attempt at a read or a write. A commit under quorum
	// durability may wait for a standby that is gone; the repeat finds what became of it.
	attemptLimit = 10 * time.Second
	// readConnLife lets reads spread over standbys that come back.
	readConnLife = 30 * time.Second
	// maxIdle keeps sessions that nobody uses from holding a member back.
	maxIdle = time.Minute
)

// appName begins the application_name of each site's sessions.
const appName = "pgapp demo "

// Consistency says which standbys may answer a client's reads.
type Consistency string

// Eventual lets each standby answer. Session lets only those answer that have the
// client's own writes, else the primary.
const (
	Eventual Consistency = "eventual"
	Session  Consistency = "session"
)

// Config says where and how the site works.
type Config struct {
	// Write and Read are connection strings for the primary and for standbys.
	Write, Read string
	// Members are the members that [Site.Watch] asks.
	Members     []Member
	Consistency Consistency
	// Patience bounds a request with all its repeats; zero stands for a minute.
	Patience time.Duration
	// Conns is the size of each pool; zero stands for 8.
	Conns int
	// Dial opens connections; nil stands for this machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Site is the movie-rental site. All methods are safe for concurrent use.
type Site struct {
	cfg Config
	// app is the application_name of this site's sessions, unlike any other site's.
	app         string
	write, read *pgxpool.Pool
	counts      counters
	newest      atomic.Uint64 // the highest position seen on a primary
	members     atomic.Pointer[[]MemberState]
}

// Open connects to the database, checks that it is Pagila, and makes the schema for the
// requests' ids. The caller closes the site.
func Open(ctx context.Context, cfg Config) (*Site, error) {
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	if cfg.Conns == 0 {
		cfg.Conns = defaultConns
	}
	if cfg.Consistency != Eventual && cfg.Consistency != Session {
		return nil, appliance.NewProblem(appliance.ErrUsage, "consistency has to be eventual or session, not %q", cfg.Consistency)
	}
	s := &Site{cfg: cfg, app: appName + uuid.NewString()[:8]}
	var err error
	if s.write, err = s.pool(ctx, cfg.Write, 0); err != nil {
		return nil, fmt.Errorf("opening the pool for writes: %w", err)
	}
	if s.read, err = s.pool(ctx, cfg.Read, readConnLife); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("opening the pool for reads: %w", err)
	}
	if err = s.prepare(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the sessions.
func (s *Site) Close() {
	s.read.Close()
	s.write.Close()
}

// pool makes a pool, which connects when it is used. Without a life sessions last.
func (s *Site) pool(ctx context.Context, conn string, life time.Duration) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(conn)
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "reading the connection string: %w", withoutConnString(err))
	}
	cfg.MaxConns = int32(min(max(s.cfg.Conns, 1), 1000)) // #nosec G115 -- bounded
	cfg.MaxConnIdleTime = maxIdle
	if life > 0 {
		cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = life, life/2
		cfg.BeforeConnect = shuffleHosts
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = s.app
	cfg.ConnConfig.OnNotice = keepWarning
	if s.cfg.Dial != nil {
		cfg.ConnConfig.DialFunc = s.cfg.Dial
	}
	return pgxpool.NewWithConfig(ctx, cfg) //nolint:wrapcheck // the caller says which pool
}

// withoutConnString leaves out pgconn's own message, which shows the connection string.
func withoutConnString(err error) error {
	if inner := unwrapOnce(err); inner != nil {
		return inner
	}
	return errUnreadable
}

// warned is the key of a session's last warning in its custom data.
const warned = "warned"

// keepWarning notes that a commit ended without its standby (01000), or that the server
// ends.
func keepWarning(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.Code == "01000" || n.Code == "57P01" {
		c.CustomData()[warned] = true
	}
}

// shuffleHosts puts the hosts of a new session in random order, so that sessions spread
// over the standbys. Entries of one host, as with and without TLS, keep their order.
func shuffleHosts(_ context.Context, cfg *pgx.ConnConfig) error {
	all := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	var hosts [][]*pgconn.FallbackConfig
	for _, f := range all {
		last := len(hosts) - 1
		if last >= 0 && hosts[last][0].Host == f.Host && hosts[last][0].Port == f.Port {
			hosts[last] = append(hosts[last], f)
			continue
		}
		hosts = append(hosts, []*pgconn.FallbackConfig{f})
	}
	shuffle(hosts)
	all = all[:0]
	for _, h := range hosts {
		all = append(all, h...)
	}
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
	return nil
}
