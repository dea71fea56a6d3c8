// Package endpoint is the process behind a home's addresses for writes and reads (rw
// and ro): a TCP proxy to the members of the home's clusters. The process is no part of
// the daemon: it runs in a session and, where possible, a control group of its own,
// holds the last state that the daemon sent, and starts with that state by itself.
//
// [Run] is the process, [Client] is how the daemon talks to it, and [Ensure] starts it.
package endpoint
