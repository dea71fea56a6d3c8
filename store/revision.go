package store

import (
	"reflect"
	"slices"

	"pgapp/appliance"
)

// sameForClients tells whether both records have the same revision for the API's
// clients. A revision covers what a client's change could overwrite. It does not cover
// what a change of primary notes while it runs: a client that has read the spec before
// may still change it. The primary's name is covered. A pause and the
// endpoints' ports are not: no spec has them, so that no change of the spec overwrites
// them, and none has to be asked for again for them.
func sameForClients(a, b appliance.Cluster) bool {
	return reflect.DeepEqual(counted(a), counted(b))
}

func counted(c appliance.Cluster) appliance.Cluster {
	c.Revision, c.Epoch, c.Timeline = 0, 0, 0
	c.Ancestors, c.Promotions, c.Change, c.Pause, c.Resumed = nil, nil, nil, nil, nil
	c.Endpoints, c.EndpointsHeld = nil, false
	c.Promise, c.Sync = appliance.Promise{}, appliance.Promise{}
	c.Members = slices.Clone(c.Members)
	for i := range c.Members {
		c.Members[i].Epoch, c.Members[i].Return = 0, ""
	}
	return c
}
