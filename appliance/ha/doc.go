// Package ha decides about a change of primary: what holds for acknowledged
// commits, which member may be promoted, and what is to be done next. The
// package is pure: it has no clock, no input or output and no goroutine. Its
// callers look at the members, hold the clock, save what it decides and carry
// out its commands.
//
// A change is a table: in this phase, with these facts, the change goes on to that
// phase and these commands are given. [Next] applies the first line that fits.
// Commands may be repeated, so a caller that was killed looks and asks again.
// Mark has to succeed on a server that runs before Promote is carried out.
//
// scripts/sim plays the table against a simulated world.
package ha
