package postgres

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
)

// Sight is what a watcher asks a member again and again, in a kept session.
type Sight struct {
	InRecovery       bool
	SystemIdentifier string
	// Received and Replayed are as in [Standing].
	Received, Replayed appliance.LSN
	// Receiving is set while a receiver runs; Quiet is how long ago it had a message.
	Receiving bool
	Quiet     time.Duration
	// Asks is the silence after which a receiver asks its upstream for a message. It is 0
	// where wal_receiver_timeout is off: then an idle upstream may stay silent for ever.
	Asks time.Duration
	// Streams are the standbys that stream from this server, Connected those and the ones
	// that are connected to it otherwise.
	Streams, Connected []string
	// Lost are the slots that have lost WAL that their standbys need.
	Lost []string
	// InForce is what the server's setting promises.
	InForce appliance.Promise
}

const sightSQL = `SELECT pg_is_in_recovery(), s.system_identifier::text,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn()::text, '') ELSE pg_current_wal_flush_lsn()::text END,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn()::text, '') ELSE pg_current_wal_flush_lsn()::text END,
	r.pid IS NOT NULL, coalesce(extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time), 0)::float8,
	extract(epoch FROM current_setting('wal_receiver_timeout')::interval)::float8 / 2,
	ARRAY(SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1),
	ARRAY(SELECT application_name FROM pg_stat_replication ORDER BY 1),
	ARRAY(SELECT slot_name::text FROM pg_get_replication_slots() WHERE wal_status = 'lost' ORDER BY 1),
	current_setting('synchronous_standby_names')
FROM pg_control_system() s LEFT JOIN pg_stat_wal_receiver r ON true`

// Sight asks the server.
func (c *Control) Sight(ctx context.Context) (Sight, error) {
	var s Sight
	var received, replayed, setting string
	var quiet, asks float64
	err := askAgain(ctx, c, sightSQL, &s.InRecovery, &s.SystemIdentifier, &received, &replayed, &s.Receiving, &quiet, &asks, &s.Streams, &s.Connected, &s.Lost, &setting)
	if err != nil {
		return s, err
	}
	s.Quiet, s.Asks = time.Duration(quiet*float64(time.Second)), time.Duration(asks*float64(time.Second))
	s.InForce = parsePromise(setting)
	var e1, e2 error
	s.Received, e1 = appliance.ParseLSN(received)
	s.Replayed, e2 = appliance.ParseLSN(replayed)
	return s, errors.Join(e1, e2)
}

// Greeting is a server's first answer to a new connection.
type Greeting string

// The greetings.
const (
	// GreetsWell: the server takes sessions, or asks for a password.
	GreetsWell Greeting = "accepts sessions"
	// GreetsNobody: nothing listens at the address.
	GreetsNobody Greeting = "nothing listens"
	// GreetsSilent: no answer in time, or a connection that broke.
	GreetsSilent Greeting = "no answer"
	// GreetsStarting: the server starts, recovers or shuts down (SQLSTATE 57P03).
	GreetsStarting Greeting = "starting"
)

// Greet connects as far as the server's first answer, within the context's time.
func Greet(ctx context.Context, host string, port int) Greeting {
	return greeting(probe(ctx, net.JoinHostPort(host, strconv.Itoa(port))))
}

// Admits tells whether the server lets the application begin a session in the database. The
// server asks for a password, which Admits doesn't give.
func Admits(ctx context.Context, host string, port int, database string) bool {
	welcome, err := hello(ctx, net.JoinHostPort(host, strconv.Itoa(port)), RoleApp, database)
	return welcome && err == nil
}

func greeting(err error) Greeting {
	switch {
	case err == nil:
		return GreetsWell
	case errors.Is(err, errStarting):
		return GreetsStarting
	case errors.Is(err, syscall.ECONNREFUSED):
		return GreetsNobody
	}
	return GreetsSilent
}

// Lives tells whether the error is the server's own answer, so that the server lives,
// whatever it thinks of the question.
func Lives(err error) bool {
	var s *ServerError
	return errors.As(err, &s) && !strings.HasPrefix(s.Code, "57P0")
}

// LacksFiles tells whether the error is a server's own answer that it lacks files: a database
// without its directory, or an error of the system or of the data.
func LacksFiles(err error) bool {
	var s *ServerError
	return errors.As(err, &s) && (s.Code == "3D000" || strings.HasPrefix(s.Code, "58") || strings.HasPrefix(s.Code, "XX"))
}
