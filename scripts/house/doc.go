// Package house holds the rules of the house as tests: which room imports
// which, one package comment a package, small files and types, a fixed top
// level.
package house
