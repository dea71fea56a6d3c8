// Package template packs a data directory that a build made (initialised,
// loaded, cleanly stopped) and gives each new cluster a copy with a system
// identifier of its own. It spares `up` the time of initdb, of the load and of
// the base backups; what it makes passes the same tests as what they make.
package template
