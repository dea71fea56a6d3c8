package plan

import (
	"context"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// slotsOf returns the names of the members' replication slots, but not those of the
// members in except.
func slotsOf(c appliance.Cluster, except ...string) []string {
	var out []string
	for _, m := range c.Members {
		if m.Slot != "" && !slices.Contains(except, m.Name) {
			out = append(out, m.Slot)
		}
	}
	return out
}

// prepareSlots makes slots on the standby that keep no WAL, for all other members: they
// can stream from it as soon as it is promoted.
func prepareSlots(ctx context.Context, w world, member string) error {
	fs, err := w.facts(ctx)
	if err != nil {
		return err
	}
	m, err := memberOf(fs.cluster, member)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context) (*postgres.Control, error) { return fs.control(ctx, m) }
	return w.cfg.Sessions.Use(ctx, postgres.SessionKey(fs.cluster, m.Name), dial, func(c *postgres.Control) error {
		return c.PrepareSlots(ctx, slotsOf(fs.cluster, member))
	})
}
