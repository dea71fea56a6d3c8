// Package pagila holds the embedded data set: SQL files that make a database compatible
// with Pagila 3.1 (the same tables, columns, types, keys, indexes, views, functions,
// triggers, partitions and row counts) with data of its own, which the files generate
// byte for byte the same on every machine.
//
// Load the files of [Files] in their order, in one session, into an empty UTF8 database
// as its owner; superuser rights are not needed. They contain no psql commands, so psql
// and a driver's simple protocol can run them. One transaction around all of them is the
// quickest way and leaves nothing after a failure. A second load into the same database
// fails at the first statement that creates a type.
package pagila

import (
	"embed"
	"io/fs"
)

// FS holds the SQL files at its root.
//
//go:embed *.sql
var FS embed.FS

// Files returns the names of the SQL files in the order in which they must be loaded.
func Files() []string {
	names, _ := fs.Glob(FS, "*.sql") // sorted; fails only on a malformed pattern
	return names
}
