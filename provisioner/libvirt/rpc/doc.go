// Package rpc calls libvirt over its wire protocol, with contexts and with
// errors that advise the user. Every call has a connection of its own, taken
// from a few idle connections, so that closing the connection cancels only that
// call, and an upload never blocks another call.
package rpc
