// Package api is the daemon's REST interface and its Go client. The server
// offers what a [Service] and its operations can do, over a unix socket (by
// peer credentials) and over TCP (by bearer token); every failure is an RFC
// 9457 problem whose type is the stable id of an [appliance.Problem], and the
// [Client] turns it back into one. echo and huma are known here only.
package api
