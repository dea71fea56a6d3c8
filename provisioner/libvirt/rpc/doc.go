// Package rpc talks to libvirt over its wire protocol, with contexts and with
// errors that say what to do. Every call has a connection to itself, taken
// from a few idle ones, so that a call whose context ends can be cut off by
// closing it, and an upload never stands in another call's way.
package rpc
