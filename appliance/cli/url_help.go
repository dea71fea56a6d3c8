package cli

// urlLong says which string each driver takes; what it says of drivers was
// tried with the versions that it names.
const urlLong = `Print a connection string. rw leads to the primary, ro to a standby, or to the
primary where none answers, any to whichever answers first. --host names one
member, which is taken as it is. The password stands in a file that the string
names; --show-password puts it into the string instead.

A cluster with endpoints (pgapp up --endpoint on) is reached by them first, and by its
members where the endpoint doesn't answer within 3 s. --only endpoint or members leaves
out the others; with the endpoint alone a client waits as long as the endpoint holds a
new connection (--endpoint-wait) and 3 s more.

  libpq     a URI for psql, psycopg and whatever else uses libpq 14 or newer
  libpq16   the same for libpq 16 or newer, which picks a host at random for ro
            and any (load_balance_hosts); older ones refuse the string
  pgx       a URI for Go's pgx
  jdbc      a URL for pgjdbc, which picks a host at random for ro and any. A URL
            can't name a password file: use --show-password; or --host, with the
            file in the environment's PGPASSFILE
  env       libpq's variables, for a shell's eval

node-postgres (pg 8) takes one host and no password file in the string: use
--host with --show-password, or with PGPASSFILE in the environment. postgres.js
(3.4) takes every string of driver libpq, but no password file at all: use
--show-password.`
