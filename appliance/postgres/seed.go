package postgres

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"pgapp/appliance"
)

// SeedMachine is a machine that a data directory can be copied to.
type SeedMachine interface {
	Shell
	appliance.TreeWriter
}

// vacateScript removes the empty directory that may be in the place of the
// data directory $2.
const vacateScript = `if [ -e "$2" ]; then rmdir -- "$2" 2>/dev/null || { echo occupied; exit 0; }; fi
`

// SeedDataDir makes the data directory of those files, not yet durable (see
// [SyncDataDir]). There may be none yet, or an empty one. What a killed attempt
// left is replaced; what pgapp did not make is a [appliance.Problem] with id
// data-dir-foreign.
func SeedDataDir(ctx context.Context, m SeedMachine, files appliance.TreeFiles) error {
	l := m.Layout()
	out, err := script(ctx, m, vacateScript+prepareScript, partialDir(l), l.DataDir)
	if err != nil {
		return failure(appliance.ErrPostgresStart, err, "preparing %s", l.DataDir)
	}
	switch out {
	case "ready":
	case "occupied":
		return foreignDir(l.DataDir)
	default:
		return foreignPartial(partialDir(l))
	}
	if err := m.WriteTree(ctx, partialData(l), files); err != nil {
		return failure(appliance.ErrPostgresStart, err, "copying the template to %s", l.DataDir)
	}
	if err := finishPartial(ctx, m); err != nil {
		return failure(appliance.ErrPostgresStart, err, "putting %s in its place", l.DataDir)
	}
	return nil
}

// Seeded tells whether [SeedDataDir] has ended: the directory gets its name
// only when it is whole. Whose it is, [InspectDataDir] tells.
func Seeded(ctx context.Context, sh Shell) (bool, error) {
	_, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
