// Package op runs operations: it takes a plan, a graph of idempotent steps,
// asks the world which of them are done, does the others, and journals each
// before the ones that need it begin. An operation outlives its process: the
// journal says that it runs, the world says how far it is.
package op
