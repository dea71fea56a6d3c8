package postgres

import (
	"context"
	"fmt"
	"strings"

	"pgapp/appliance"
)

// removeSlotsScript removes the replication slots $2… of the stopped data directory
// $1. PostgreSQL keeps each slot as a directory.
const removeSlotsScript = `set -eu
cd -- "$1/pg_replslot"
shift
for s; do rm -rf -- "./$s"; done`

// RemoveSlots removes the slots of a stopped member. A former primary's slots
// would keep WAL that nobody reads. A repeat does nothing.
func RemoveSlots(ctx context.Context, sh Shell, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if _, err := script(ctx, sh, removeSlotsScript, append([]string{sh.Layout().DataDir}, names...)...); err != nil {
		return failure(appliance.ErrPostgresStart, err, "removing the replication slots %s", strings.Join(names, ", "))
	}
	return nil
}

// PrepareSlots makes slots on a standby that keep no WAL, so that the members can
// stream from it as soon as it is promoted. Slots that do keep WAL, as those of a
// former primary, are replaced unless somebody streams from them. A repeat does
// nothing.
func (c *Control) PrepareSlots(ctx context.Context, names []string) error {
	slots, err := c.Slots(ctx)
	if err != nil {
		return fmt.Errorf("preparing replication slots: %w", err)
	}
	there := map[string]Slot{}
	for _, s := range slots {
		there[s.Name] = s
	}
	for _, name := range names {
		s, ok := there[name]
		if ok && (s.Active || s.RestartLSN == "") {
			continue
		}
		if ok {
			if err := c.DropSlot(ctx, name); err != nil {
				return err
			}
		}
		err := c.exec(ctx, "SELECT pg_create_physical_replication_slot($1, false)", name)
		if err != nil && !hasState(err, stateDuplicate) {
			return fmt.Errorf("preparing replication slot %q: %w", name, err)
		}
	}
	return nil
}
