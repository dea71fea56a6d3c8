// Package relay moves bytes between the two connections of a pair, for many pairs by few
// threads. A thread waits for all of its connections at once and moves what has come with
// one read and one write. Two goroutines a pair, as with io.Copy, cost a switch and two
// attempts to read for every message of a session.
package relay
