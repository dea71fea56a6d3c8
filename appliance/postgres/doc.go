// Package postgres is PostgreSQL 17 on one member of a cluster: its
// configuration files, its data directory (made by initdb or cloned from the
// primary), its roles and databases, and what verify proves of it.
//
// Files and programs are reached through a [Shell], so the code is the same
// for a process on this machine and for a virtual machine. A running server is
// asked over TCP through [Control], pgapp's own session, whose role is no
// superuser. What needs one goes through psql and the unix socket, where the
// operating system vouches for the user ([SuperuserSQL]).
//
// Every function is safe to repeat, also after a kill -9 in the middle: what
// can't be idempotent works in <data>.partial, or in a scratch database, and
// is renamed at its end. Passwords travel in files of mode 0600 and on
// standard input only, never in arguments, environments, errors or logs.
package postgres
