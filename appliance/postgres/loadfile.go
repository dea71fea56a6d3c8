package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// loadSessionOptions are the loading session's; nothing needs to be durable
// before the mark.
const loadSessionOptions = "-c synchronous_commit=off -c client_min_messages=warning -c statement_timeout=0"

// file loads one file: a script through psql, an archive through pg_restore.
func (l *loader) file(ctx context.Context, f LoadFile) error {
	in, err := f.Open()
	if err != nil {
		return sourceFailure(err, f.Name)
	}
	defer func() { _ = in.Close() }() // read only
	raw := &countingReader{in: in, progress: l.progress, name: f.Name}
	src, err := openSource(raw)
	if err != nil {
		return sourceFailure(err, f.Name)
	}
	defer src.close()
	if src.archive {
		return l.restore(ctx, f, src)
	}
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("choosing a mark for the end of the script: %w", err)
	}
	script := newScriptReader(src, endSQL(hex.EncodeToString(nonce)))
	answer := &answerWriter{nonce: hex.EncodeToString(nonce)}
	var args []string
	if l.o.Owner || f.AsOwner {
		args = []string{"-c", "SET SESSION AUTHORIZATION app"}
	}
	cmd := psqlCommand(l.sh.Layout(), l.port, l.o.Database, loadSessionOptions, script, args...)
	cmd.Stdout = answer
	_, err = l.sh.Run(ctx, cmd)
	// psql takes a read error for the script's end.
	if readErr := script.failed(); readErr != nil && ctx.Err() == nil {
		return sourceFailure(readErr, f.Name)
	}
	if err != nil {
		return l.scriptFailure(err, f.Name, script.lines())
	}
	return l.judge(f.Name, answer.fields())
}

// endSQL queries the session's state after the script's last line. If the script
// leaves COPY data, a string, a comment or an \if open, or quits by \q before
// its end, the query is not run and no answer arrives. After \restrict psql
// refuses backslash commands. Two statements of one transaction have the same
// transaction id. The first two lines run a last statement without semicolon, as
// psql does at the end of a file; after a COPY, a semicolon alone would make
// psql stop reading. The query has no quotes, which would end an open string.
func endSQL(nonce string) string {
	return `\set AUTOCOMMIT on
\; SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text AS pgapp_first \gset
\o
\unset FETCH_COUNT
SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text AS pgapp_second, (pg_catalog.pg_control_system()).system_identifier AS pgapp_server, pg_catalog.pg_is_in_recovery() AS pgapp_standby, pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_database()::pg_catalog.text, $pgapp$UTF8$pgapp$), $pgapp$hex$pgapp$) AS pgapp_database \gset
\echo ` + nonce + ` :pgapp_first :pgapp_second :pgapp_server :pgapp_standby :pgapp_database
`
}

// lastStatementLines are the lines of endSQL that run the script's last
// statement.
const lastStatementLines = 2

// judge compares the session's final state with the required one.
func (l *loader) judge(name string, answer []string) error {
	const fields = 5
	if len(answer) != fields {
		return incomplete(name, `it ends within COPY data, a quoted string, a comment or an \if, or it quits by \q before its end`)
	}
	database, err := hex.DecodeString(answer[4])
	switch {
	case err != nil:
		return incomplete(name, "psql's answer at the end of the file is unreadable")
	case answer[2] != l.identifier || answer[3] != "f":
		return appliance.NewProblem(appliance.ErrSQL, `SQL file %q ends on another server: a \connect leaves the cluster`, name)
	case string(database) != l.o.Database:
		return appliance.NewProblem(appliance.ErrSQL, `SQL file %q ends in database %q: a \connect leaves the database to load, %q`, name, database, l.o.Database).
			WithHint("dump one database without --create (pg_dump, not pg_dumpall), or end the file with '\\connect %s'; then run 'pgapp up' again", l.o.Database)
	case answer[0] == answer[1]:
		return appliance.NewProblem(appliance.ErrSQL, "SQL file %q ends within a transaction: its COMMIT is missing", name).
			WithHint("end the file with COMMIT, then run 'pgapp up' again")
	}
	return nil
}

func incomplete(name, why string) error {
	return appliance.NewProblem(appliance.ErrSQL, "SQL file %q is not complete: %s", name, why).
		WithHint("check the file's last lines, or dump or copy the file again; then run 'pgapp up' again")
}

// scriptFailure makes the problem of psql's error. An error beyond the script's
// last line concerns the script's end.
func (l *loader) scriptFailure(err error, name string, lines int) error {
	what := fmt.Sprintf("SQL file %q", name)
	var exit *appliance.ExitError
	if errors.As(err, &exit) {
		found, ok := parsePSQL(exit.Stderr)
		line, lineErr := strconv.Atoi(found.line)
		if ok && lineErr == nil && line > lines {
			if line > lines+lastStatementLines || unfinished(exit.Stderr) {
				return incomplete(name, endComplaint(exit.Stderr, found.message))
			}
			return withHint(appliance.NewProblem(appliance.ErrSQL, "%s failed in its last statement: %s", what, found.message))
		}
	}
	return withHint(sqlFailure(err, what))
}

// unfinished tells whether the error concerns a statement without an end.
func unfinished(stderr string) bool {
	for _, sign := range []string{"unterminated ", "at end of input", `at or near ";"`, "backslash commands are restricted", "current transaction is aborted"} {
		if strings.Contains(stderr, sign) {
			return true
		}
	}
	return false
}

func endComplaint(stderr, message string) string {
	switch {
	case strings.Contains(stderr, "CONTEXT:  COPY "):
		return "it ends within COPY data"
	case strings.Contains(message, "backslash commands are restricted"):
		return `it ends before its \unrestrict`
	case strings.Contains(message, "current transaction is aborted"):
		return "it ends within a failed transaction"
	}
	return message
}

// withHint adds hints to frequent errors.
func withHint(err error) error {
	var p *appliance.Problem
	if !errors.As(err, &p) || p.ID != appliance.ErrSQL || p.Hint != "" {
		return err
	}
	switch {
	case refusedTablespace(p.Message):
		return p.WithHint(tablespaceHint)
	case strings.Contains(p.Message, "No such file or directory"), strings.Contains(p.Message, "Permission denied"):
		return p.WithHint(`\i, \ir and \copy read files on the primary's machine, as the server's user: use absolute paths that this user can read, or give each part its own --sql; then run 'pgapp up' again`)
	case regexp.MustCompile(`database "[^"]*" already exists$`).MatchString(p.Message):
		return p.WithHint("remove CREATE DATABASE, or dump without --create: pgapp creates the database itself; then run 'pgapp up' again")
	case regexp.MustCompile(`role "[^"]*" does not exist$`).MatchString(p.Message):
		return p.WithHint("create the role in an SQL file before this one, or dump with --no-owner --no-privileges; then run 'pgapp up' again")
	}
	return err
}

// restore loads an archive of pg_dump. pg_restore detects an incomplete archive.
func (l *loader) restore(ctx context.Context, f LoadFile, src *source) error {
	layout := l.sh.Layout()
	args := []string{
		program(layout, "pg_restore"), "-w", "-h", layout.SocketDir, "-p", strconv.Itoa(l.port), "-U", RoleSuperuser,
		"-d", l.o.Database, "--exit-on-error",
	}
	cmd := psqlCommand(layout, l.port, l.o.Database, loadSessionOptions, src)
	cmd.Argv = args
	_, err := l.sh.Run(ctx, cmd)
	if readErr := src.failed(); readErr != nil && ctx.Err() == nil {
		return sourceFailure(readErr, f.Name)
	}
	var exit *appliance.ExitError
	if err == nil || !errors.As(err, &exit) || appliance.HostErrorInText(exit.Stderr) != "" {
		return failureOrNilSQL(err, f.Name)
	}
	why := firstComplaint(exit.Stderr)
	if _, text, ok := strings.Cut(why, "ERROR:  "); ok {
		why = text
	}
	if why == "" {
		return failureOrNilSQL(err, f.Name)
	}
	return withHint(appliance.NewProblem(appliance.ErrSQL, "archive %q of pg_dump failed: %s", f.Name, why))
}

func failureOrNilSQL(err error, name string) error {
	if err == nil {
		return nil
	}
	return failure(appliance.ErrSQL, err, "restoring archive %q", name)
}

// sourceFailure makes the problem of a file that can't be read to its end.
func sourceFailure(err error, name string) error {
	var format *formatError
	if errors.As(err, &format) {
		return appliance.NewProblem(appliance.ErrSQL, "SQL file %q %s", name, format.what).WithHint("%s", format.hint)
	}
	return appliance.NewProblem(appliance.ErrSQL, "reading SQL file %q: %w", name, err)
}
