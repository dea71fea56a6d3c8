// Package appliance defines pgapp's domain: clusters, members, operations and
// errors, and the contracts [Provider] and [Store]. It imports no other package
// of pgapp, so that all of them can import it.
package appliance
