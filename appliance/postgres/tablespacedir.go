package postgres

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"pgapp/appliance"
)

// A standby has the primary's tablespaces at the primary's paths. WAL contains
// the primary's paths only, so a clone with mapped tablespaces would differ from
// the replay of a later CREATE TABLESPACE.

const tablespaceLocationsSQL = `SELECT pg_tablespace_location(oid)
FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY 1`

// TablespaceLocations lists the directories of tablespaces outside of the data
// directory.
func (c *Control) TablespaceLocations(ctx context.Context) ([]string, error) {
	return c.strings(ctx, tablespaceLocationsSQL)
}

// MakeTablespaceDirs makes the directories that a standby needs to replay CREATE
// TABLESPACE, and returns those that were missing.
func MakeTablespaceDirs(ctx context.Context, dirs appliance.DirMaker, locations []string) ([]string, error) {
	var out []string
	for _, l := range locations {
		made, err := dirs.MakeDir(ctx, l)
		if err != nil {
			return out, fmt.Errorf("making the tablespace's directory: %w", err)
		}
		if made {
			out = append(out, l)
		}
	}
	return out, nil
}

// MissingTablespaces lists the directories whose absence made the server fail
// with this error. The primary may have dropped the tablespace since.
func MissingTablespaces(err error) []string {
	return missingIn(appliance.AsProblem(err).Detail)
}

// LoggedMissing lists the directories that the ended server's log calls missing
// and that are still missing.
func LoggedMissing(ctx context.Context, sh Shell) []string {
	logged := missingIn(readLogTail(ctx, sh))
	if len(logged) == 0 {
		return nil
	}
	out, err := script(ctx, sh, `for t; do [ -d "$t" ] || printf '%s\n' "$t"; done`, logged...)
	if err != nil || out == "" {
		return nil
	}
	return slices.Compact(strings.Split(out, "\n"))
}

func missingIn(log string) (out []string) {
	if !strings.Contains(log, "FATAL:  directory ") {
		return nil
	}
	// Continuation lines of a statement begin with a tab.
	line := regexp.MustCompile(`(?m)^[^\t\n].*CONTEXT:  WAL redo at .* for Tablespace/CREATE: \d+ "(/[^"\n]+)"$`)
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		out = append(out, m[1])
	}
	return out
}

// tablespacesFile, beside the partial data directory, lists the locations to
// which the clone writes, one a line.
func tablespacesFile(l appliance.Layout) string { return path.Join(partialDir(l), ".tablespaces") }

// clearFunction removes PostgreSQL 17's directories from a tablespace; servers
// and base backups create nothing else there.
const clearFunction = `clear_tablespace() {
	for v in "$1"/PG_17_*; do
		if [ -d "$v" ] && [ ! -L "$v" ]; then rm -rf -- "$v"; fi
	done
}
`

// clearListed clears the tablespaces of the partial directory $p. Without a data
// directory in it, the clone has not begun or has succeeded.
const clearListed = clearFunction + `if [ -f "$p/.pgapp" ] && [ -d "$p/data" ] && [ -f "$p/.tablespaces" ]; then
	while IFS= read -r t; do clear_tablespace "$t"; done <"$p/.tablespaces"
fi
`

// clearLinked clears the tablespaces of the data directory $d.
const clearLinked = clearFunction + `for t in "$d"/pg_tblspc/*; do
	if [ -L "$t" ]; then clear_tablespace "$t"; fi
done
`

// readyTablespaces makes an empty directory for each of the primary's
// tablespaces, which pg_basebackup fills, and records the list for clearListed.
func readyTablespaces(ctx context.Context, sh Shell, o CloneOptions) error {
	dirs, own := sh.(appliance.DirMaker)
	if !own || o.Primary == nil {
		return nil
	}
	locations, err := o.Primary.TablespaceLocations(ctx)
	if err != nil || len(locations) == 0 {
		return err
	}
	for _, t := range locations {
		if err := checkLocation(sh.Layout(), t); err != nil {
			return err
		}
	}
	if _, err := MakeTablespaceDirs(ctx, dirs, locations); err != nil {
		return err
	}
	const foreign = `for t; do
	[ -d "$t" ] && content=$(ls -A -- "$t") && [ -z "$content" ] || { printf %s "$t"; exit 0; }
done`
	found, err := script(ctx, sh, foreign, locations...)
	if err != nil {
		return err
	}
	if found != "" {
		return appliance.NewProblem(appliance.ErrDataDirForeign, "the primary has a tablespace at %s, but on member %s this directory contains files that pgapp did not make", found, o.Member).
			WithHint("empty the directory on the member (pgapp ssh %s), then run the same command again", o.Member)
	}
	return sh.WriteFile(ctx, tablespacesFile(sh.Layout()), []byte(strings.Join(locations, "\n")+"\n"), 0o600)
}

// checkLocation refuses a location inside of pgapp's own directories, which
// can't exist before the data directory, and one with a line break, which the
// list can't hold.
func checkLocation(l appliance.Layout, location string) error {
	for _, own := range []string{l.DataDir, partialDir(l), l.ConfDir} {
		if location == own || strings.HasPrefix(location, own+"/") {
			return appliance.NewProblem(appliance.ErrClone, "the tablespace at %s is inside of pgapp's own directories", location).
				WithHint("move its objects to another tablespace, then DROP TABLESPACE")
		}
	}
	if strings.Contains(location, "\n") {
		return appliance.NewProblem(appliance.ErrClone, "the tablespace at %q has a line break in its path", location).
			WithHint("move its objects to another tablespace, then DROP TABLESPACE")
	}
	return nil
}
