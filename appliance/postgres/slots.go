package postgres

import (
	"context"
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
