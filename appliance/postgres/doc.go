// Package postgres manages PostgreSQL 17 on one member of a cluster: its
// configuration files, its data directory (made by initdb or cloned from the
// primary), its roles and databases, and verify's checks.
//
// Files and programs are used through a [Shell], so the code is the same for a
// process on this machine and for a virtual machine. A running server is
// queried over TCP through [Control], pgapp's own session, whose role is not a
// superuser. Statements for superusers go through psql and the unix socket,
// where the operating system authenticates the user ([SuperuserSQL]).
//
// Every function is safe to repeat, also after a kill -9 in the middle: a new
// data directory is made in <data>.partial and renamed when complete, and a
// database is marked when it is loaded. Passwords are passed in files of mode
// 0600 and on standard input only, never in arguments, environments, errors or
// logs.
package postgres
