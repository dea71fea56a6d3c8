// Package pgtree holds the relocatable PostgreSQL 17 tree that
// scripts/build/pgtree makes, compiled into the program.
//
// It is a package of its own that only package main imports, so that test
// binaries don't contain its 39 MB. The package compiles without the tree too;
// FS then holds only a README.
package pgtree

import "embed"

// FS holds tree/pgtree.tar.s2 and tree/manifest.json if the tree was built.
// appliance/postgres/tree unpacks it.
//
//go:embed all:tree
var FS embed.FS
