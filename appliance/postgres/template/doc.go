// Package template packs a data directory that the build made (initialised,
// loaded, cleanly stopped), and gives each new cluster a copy with its own
// system identifier. The copy saves `up` the time of initdb, the load and the
// base backups, and passes the same tests as their result.
package template
