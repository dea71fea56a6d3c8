// Package op runs operations: it takes a plan, which is a graph of idempotent
// steps, asks each step whether it is done, runs the others, and journals each
// step before its dependents begin. An operation survives the end of the process:
// the journal records which operations run, and each step's Done tells how far
// they are.
package op
