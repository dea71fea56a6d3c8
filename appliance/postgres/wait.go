package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

const (
	probeEvery   = 10 * time.Millisecond
	probeTimeout = 3 * time.Second
	// aliveEvery is the interval of looks for the server process while the port
	// doesn't answer.
	aliveEvery = 100 * time.Millisecond
	// pidGrace is the time for a starting server to write postmaster.pid, if
	// only this file tells whether the server runs. A guest without KVM is slow.
	pidGrace = 15 * time.Second
	logTail  = 40
)

// errStarting means that the server is not ready for sessions yet.
var errStarting = errors.New("the server is starting")

// errOtherServer means that another server may have answered on the port.
var errOtherServer = errors.New("this member's server is not ready")

// serverWatcher is the part of [appliance.Machine] that observes the server.
type serverWatcher interface {
	ServerRunning(ctx context.Context) (bool, error)
}

// WaitAccepting waits until the server at the address accepts sessions. If the
// server's process has ended, the error is a [appliance.Problem] with the reason
// and the end of the server's log; its id is postgres-start-failed or one of a
// host's refusal. If ctx's deadline passes, the id is postgres-start-failed too.
func WaitAccepting(ctx context.Context, sh Shell, host string, port int) error {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	start, lastLook, missing := time.Now(), time.Now(), 0
	var refusal error
	err := wait.Until(ctx, probeEvery, func(ctx context.Context) (bool, error) {
		if refusal = accepting(ctx, sh, address, port); refusal == nil {
			return true, nil
		}
		silent := ctx.Err() == nil && !errors.Is(refusal, errStarting)
		if !silent || time.Since(lastLook) < aliveEvery {
			return false, nil
		}
		alive, err := serverAlive(ctx, sh, start)
		if err != nil && ctx.Err() == nil {
			return false, fmt.Errorf("looking for the server process at %s: %w", address, err)
		}
		lastLook, missing = time.Now(), missing+1
		if alive {
			missing = 0
		}
		if missing == 2 {
			return false, startFailure(ctx, sh, address)
		}
		return false, nil
	})
	if err != nil && errors.Is(err, context.Cause(ctx)) {
		return notAccepting(ctx, sh, address, refusal)
	}
	return err
}

// accepting tells whether this member's server accepts sessions at the address. A local
// server is asked only once its file says that it is ready, since it writes each earlier
// question to its log as a fatal error. A file of a guest costs more than the question.
func accepting(ctx context.Context, sh Shell, address string, port int) error {
	if _, guest := sh.(appliance.DirMaker); !guest {
		if err := ownServer(ctx, sh, port); err != nil {
			return err
		}
		return probe(ctx, address)
	}
	if err := probe(ctx, address); err != nil {
		return err
	}
	return ownServer(ctx, sh, port)
}

// probe begins a session and reads the server's first answer, as pg_isready
// does, so that it needs no password. A server that asks for a password or
// refuses the user accepts sessions.
func probe(ctx context.Context, address string) error {
	_, err := hello(ctx, address, RoleControl, MaintenanceDatabase)
	return err
}

// hello begins a session of that role, and tells whether the server lets the role go on,
// as by asking for its password.
func hello(ctx context.Context, address, role, database string) (welcome bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // nothing was written that could be lost
	// A connection that can't be given a deadline has been closed, and its read fails.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	hello := pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": role, "database": database, "application_name": "pgapp"},
	}
	buf, err := hello.Encode(nil)
	if err != nil {
		return false, fmt.Errorf("encoding the startup message: %w", err)
	}
	if _, err := conn.Write(buf); err != nil {
		return false, err
	}
	return readAnswer(conn)
}

func readAnswer(conn io.Reader) (welcome bool, err error) {
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return false, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] == 'R' {
		return true, nil
	}
	if head[0] != 'E' || n < 4 || n > 1<<16 {
		return false, errors.New("the program that listens on the port is not PostgreSQL")
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return false, err
	}
	var answer pgproto3.ErrorResponse
	if err := answer.Decode(body); err != nil {
		return false, fmt.Errorf("reading the server's answer: %w", err)
	}
	if answer.Code == "57P03" { // cannot_connect_now
		return false, fmt.Errorf("%w: %s", errStarting, answer.Message)
	}
	return false, nil
}

// ownServer checks by postmaster.pid that this member's server is ready, since
// another server may have the port and answer instead.
func ownServer(ctx context.Context, sh Shell, port int) error {
	data, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return errOtherServer
	}
	if err != nil {
		return fmt.Errorf("reading postmaster.pid: %w", err)
	}
	const portLine, stateLine = 3, 7
	lines := strings.Split(string(data), "\n")
	if len(lines) <= stateLine || strings.TrimSpace(lines[portLine]) != strconv.Itoa(port) {
		return errOtherServer
	}
	if state := strings.TrimSpace(lines[stateLine]); state != "ready" && state != "standby" {
		return fmt.Errorf("%w: its state is %s", errOtherServer, state)
	}
	return nil
}

// serverAlive observes the server process through the machine if possible, else
// by postmaster.pid, which appears only after a while.
func serverAlive(ctx context.Context, sh Shell, start time.Time) (bool, error) {
	if w, ok := sh.(serverWatcher); ok {
		return w.ServerRunning(ctx)
	}
	out, err := script(ctx, sh, `pid=$(head -n 1 -- "$1" 2>/dev/null) && kill -0 "$pid" 2>/dev/null && echo alive || echo dead`,
		sh.Layout().DataDir+"/postmaster.pid")
	if err != nil {
		return false, err
	}
	return out == "alive" || time.Since(start) < pidGrace, nil
}

// startFailure makes the problem of an ended server from its log.
func startFailure(ctx context.Context, sh Shell, address string) error {
	log := readLogTail(ctx, sh)
	why := lastComplaint(log)
	id := appliance.HostErrorInText(log)
	if id == "" {
		id = appliance.ErrPostgresStart
	}
	if why == "" {
		why = "the server process ended"
	}
	return appliance.NewProblem(id, "PostgreSQL at %s did not start: %s", address, why).
		WithHint("the server's log says more: %s", sh.Layout().LogFile).WithDetail(log)
}

func notAccepting(ctx context.Context, sh Shell, address string, last error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("waiting for PostgreSQL at %s: %w", address, ctx.Err())
	}
	tailCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	return appliance.NewProblem(appliance.ErrPostgresStart, "PostgreSQL at %s did not accept connections in time: %w", address, last).
		WithHint("the server's log says more: %s", sh.Layout().LogFile).WithDetail(readLogTail(tailCtx, sh))
}

func readLogTail(ctx context.Context, sh Shell) string {
	out, err := script(ctx, sh, `exec tail -n "$2" -- "$1"`, sh.Layout().LogFile, strconv.Itoa(logTail))
	if err != nil {
		return ""
	}
	return out
}
