// Package plan says what each operation consists of: the steps that create,
// start, stop, restart and remove a cluster, in terms of a provider's
// machines and PostgreSQL on them. It decides the order; package op runs it.
package plan
