// Package ha decides about a change of primary: what holds for acknowledged
// commits, which member may be promoted, and what is to be done next. The
// package is pure: it has no clock, no input or output and no goroutine. Its
// callers look at the members, hold the clock, save what it decides and carry
// out its commands.
package ha
