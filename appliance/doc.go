// Package appliance holds the domain of pgapp: what a cluster, a member and
// an operation are, which errors a user can meet, and the two contracts that
// other rooms implement, [Provider] and [Store]. It does nothing by itself
// and imports none of the other rooms, so that all of them can import it.
package appliance
