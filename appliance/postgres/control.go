package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

// The limits of a control session, which never waits for a standby, and for
// nothing else for long.
const (
	connectTimeout   = 3 * time.Second
	lockTimeout      = 3 * time.Second
	statementTimeout = 30 * time.Second
	closeTimeout     = time.Second
)

// SQLSTATEs that the package handles.
const (
	stateReadOnly    = "25006" // read_only_sql_transaction
	stateDuplicate   = "42710" // duplicate_object
	stateUndefined   = "42704" // undefined_object
	stateInUse       = "55006" // object_in_use
	stateNoTable     = "42P01" // undefined_table
	stateLockTimeout = "55P03" // lock_not_available
	stateCanceled    = "57014" // query_canceled, by statement_timeout too
	stateConflict    = "40001" // serialization_failure: a recovery conflict
	stateTooMany     = "53300" // too_many_connections
)

// Control is pgapp's TCP session to one member. It is not safe for concurrent
// use. A context that ends during a query ends the session too.
type Control struct {
	conn    *pgx.Conn
	address string
}

// Connect opens a session as role pgapp. The error is a [appliance.Problem]
// with id member-unreachable and the server's answer.
func Connect(ctx context.Context, host string, port int, database string, password appliance.Secret) (*Control, error) {
	return ConnectAs(ctx, RoleControl, host, port, database, password)
}

// ConnectAs opens a session as the role; errors are [Connect]'s.
func ConnectAs(ctx context.Context, role, host string, port int, database string, password appliance.Secret) (*Control, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	cfg, err := pgx.ParseConfig("host=127.0.0.1 user=" + RoleControl + " sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("preparing a session to %s: %w", address, err)
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.Password = host, uint16(port), database, role, password.Reveal()
	cfg.TLSConfig, cfg.Fallbacks, cfg.ValidateConnect = nil, nil, nil
	cfg.RequireAuth = "scram-sha-256"
	cfg.ConnectTimeout = connectTimeout
	cfg.DialFunc = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 5 * time.Second}).DialContext
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	// The whole map is replaced, so that no PG* environment variable counts. It
	// sets every parameter that the code depends on, since the server, the
	// database or the role may set others; a hot standby refuses serializable.
	cfg.RuntimeParams = map[string]string{
		"application_name":                    "pgapp",
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
		"default_transaction_deferrable":      "off",
		"datestyle":                           "ISO, MDY",
		"intervalstyle":                       "postgres",
		"bytea_output":                        "hex",
		"extra_float_digits":                  "1",
		"standard_conforming_strings":         "on",
		"quote_all_identifiers":               "off",
		"row_security":                        "on",
		"transaction_timeout":                 "0",
		"idle_session_timeout":                "0",
		"client_min_messages":                 "warning",
		"local_preload_libraries":             "",
		"synchronous_commit":                  "local",
		"lock_timeout":                        milliseconds(lockTimeout),
		"statement_timeout":                   milliseconds(statementTimeout),
		"idle_in_transaction_session_timeout": milliseconds(2 * statementTimeout),
		"search_path":                         "pg_catalog",
		// Compiling a query or starting workers takes longer than these queries.
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
		"timezone":                        "UTC",
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectFailure(ctx, address, role, err)
	}
	return &Control{conn: conn, address: address}, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// connectFailure keeps the error of the server or the operating system, without
// the driver's lines, which repeat the user and the database.
func connectFailure(ctx context.Context, address, role string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("connecting to PostgreSQL at %s: %w", address, ctx.Err())
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return appliance.NewProblem(appliance.ErrMemberUnreachable, "PostgreSQL at %s refuses role %q: %w", address, role, serverError(pg))
	}
	why := err
	var op *net.OpError
	if errors.As(err, &op) {
		why = op.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		why = ErrNoAnswer
	}
	return appliance.NewProblem(appliance.ErrMemberUnreachable, "PostgreSQL at %s can't be reached: %w", address, why)
}

// ErrNoAnswer means that a server or its machine did not answer in time: it may
// be down or busy.
var ErrNoAnswer = errors.New("no answer in time")

// ServerError is an error that the server reported, without the statement.
type ServerError struct {
	// Code is the SQLSTATE.
	Code string
	// Message is the server's.
	Message string
}

// Error is the server's message and the SQLSTATE.
func (e *ServerError) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

func serverError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return &ServerError{pg.Code, pg.Message}
	}
	return err
}

func hasState(err error, code string) bool {
	var s *ServerError
	if errors.As(err, &s) {
		return s.Code == code
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// Close ends the session. A repeat does nothing.
func (c *Control) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := c.conn.Close(ctx); err != nil {
		return fmt.Errorf("closing the session to %s: %w", c.address, err)
	}
	return nil
}

// closeQuietly closes a session whose results were all read.
func (c *Control) closeQuietly(ctx context.Context) { _ = c.Close(ctx) }

// exec runs one statement and ignores its rows.
func (c *Control) exec(ctx context.Context, sql string, args ...any) error {
	_, err := c.conn.Exec(ctx, sql, args...)
	return c.wrap(ctx, err)
}

// row reads the single row of a query.
func (c *Control) row(ctx context.Context, sql string, args []any, dest ...any) error {
	return c.wrap(ctx, c.conn.QueryRow(ctx, sql, args...).Scan(dest...))
}

// askAgain is row for a query that is asked again and again: the server parses and plans it
// once a session. A session's first one costs an exchange more.
func askAgain(ctx context.Context, c *Control, sql string, dest ...any) error {
	return c.row(ctx, sql, []any{pgx.QueryExecModeCacheStatement}, dest...)
}

func (c *Control) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("asking PostgreSQL at %s: %w", c.address, ctx.Err())
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) && c.conn.IsClosed() {
		return appliance.NewProblem(appliance.ErrMemberUnreachable, "PostgreSQL at %s ended the session: %w", c.address, err)
	}
	return fmt.Errorf("asking PostgreSQL at %s: %w", c.address, serverError(err))
}

// Checkpoint makes the server write a checkpoint and waits for it.
func (c *Control) Checkpoint(ctx context.Context) error { return c.exec(ctx, "CHECKPOINT") }

// Reload makes the server reload its configuration, and wakes a standby that
// pauses between connection attempts. [ReloadConfig] also checks the files.
func (c *Control) Reload(ctx context.Context) error { return c.exec(ctx, "SELECT pg_reload_conf()") }
