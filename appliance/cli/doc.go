// Package cli is pgapp's command line, a file a command, and the composition
// root: the only place that knows every room and puts them together. All
// commands but serve, doctor, service, version and completion are clients of
// the daemon's API.
package cli
