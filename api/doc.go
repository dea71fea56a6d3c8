// Package api is the daemon's REST interface and its Go client. The server
// offers a [Service] and its operations over a unix socket (authenticated by
// peer credentials) and over TCP (by bearer token). Every failure is an RFC 9457
// problem whose type is the stable id of an [appliance.Problem]; the [Client]
// converts it back. Only this package imports echo and huma.
package api
