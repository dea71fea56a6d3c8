// Package pgtree holds the relocatable PostgreSQL 17 tree that
// scripts/build/pgtree makes, compiled into the program.
//
// It is a package of its own, and only the program's main line imports it, so
// that test binaries don't carry its 39 MB. Where the tree was not built the
// package compiles all the same: FS then holds nothing but a README.
package pgtree

import "embed"

// FS holds tree/pgtree.tar.s2 and tree/manifest.json where the tree was built.
// appliance/postgres/tree unpacks it.
//
//go:embed all:tree
var FS embed.FS
