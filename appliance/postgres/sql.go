package postgres

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// psqlCommand runs psql as superuser over the unix socket. psql reads standard
// input and stops at the first error.
func psqlCommand(l appliance.Layout, port int, database, options string, in io.Reader, args ...string) appliance.Command {
	argv := []string{
		program(l, "psql"), "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
		"-h", l.SocketDir, "-p", strconv.Itoa(port), "-U", RoleSuperuser, "-d", database,
	}
	return appliance.Command{
		Argv: append(append(argv, args...), "-f", "-"),
		Env: map[string]string{
			"PGAPPNAME": "pgapp", "PGCONNECT_TIMEOUT": "10", "PGCLIENTENCODING": "UTF8", "PGOPTIONS": options,
		},
		Stdin: in,
	}
}

// controlOptions keep an administrator's session from waiting for standbys or
// for locks. They override the settings of the server, the database and the
// role; a missing preload library would refuse even the session that removes
// the library from the settings.
const controlOptions = "-c synchronous_commit=local -c lock_timeout=10s -c statement_timeout=60s -c client_min_messages=warning" +
	" -c session_preload_libraries= -c local_preload_libraries= -c search_path=pg_catalog,public -c TimeZone=UTC -c DateStyle=ISO,MDY" +
	" -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1 -c standard_conforming_strings=on" +
	" -c quote_all_identifiers=off -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off" +
	" -c default_transaction_deferrable=off -c transaction_timeout=0 -c idle_in_transaction_session_timeout=0" +
	" -c idle_session_timeout=0 -c row_security=on -c default_tablespace="

// SuperuserSQL runs SQL as the superuser through the member's unix socket, and
// returns the rows in lines, with columns separated by |. It stops at the first
// error, a [appliance.Problem] with id sql-failed, the line and PostgreSQL's
// message, but without the statement.
func SuperuserSQL(ctx context.Context, sh Shell, port int, database, sql string) (string, error) {
	cmd := psqlCommand(sh.Layout(), port, database, controlOptions, strings.NewReader(sql), "-v", "VERBOSITY=terse")
	res, err := sh.Run(ctx, cmd)
	if err != nil {
		return "", sqlFailure(err, "SQL in database "+strconv.Quote(database))
	}
	return strings.TrimRight(string(res.Stdout), "\n"), nil
}

// sqlFailure makes the problem of psql's error; what is the source's name.
func sqlFailure(err error, what string) error {
	var exit *appliance.ExitError
	if !errors.As(err, &exit) || appliance.HostErrorInText(exit.Stderr) != "" {
		return failure(appliance.ErrSQL, err, "running %s", what)
	}
	found, ok := parsePSQL(exit.Stderr)
	switch {
	case !ok:
		return failure(appliance.ErrSQL, err, "running %s", what)
	case found.line == "":
		return appliance.NewProblem(appliance.ErrSQL, "%s failed: %s", what, found.message)
	}
	return appliance.NewProblem(appliance.ErrSQL, "%s failed in line %s: %s", what, found.line, found.message)
}
