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

// A standby has the primary's tablespaces at the primary's own paths: WAL names
// no other, so a clone that mapped them elsewhere would differ from what a
// later CREATE TABLESPACE makes.

const tablespaceLocationsSQL = `SELECT pg_tablespace_location(oid)
FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY 1`

// TablespaceLocations are the directories of tablespaces outside of the data
// directory.
func (c *Control) TablespaceLocations(ctx context.Context) ([]string, error) {
	return c.strings(ctx, tablespaceLocationsSQL)
}

// MakeTablespaceDirs makes the directories that a standby needs to replay the
// making of tablespaces, and returns those that weren't there.
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

// MissingTablespaces are the directories that a server didn't find when it
// ended with this error: the primary may have dropped the tablespace since.
func MissingTablespaces(err error) []string {
	return missingIn(appliance.AsProblem(err).Detail)
}

// LoggedMissing are the directories that a server which has ended didn't find,
// and that are not there now.
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
	// A statement's further lines begin with a tab.
	line := regexp.MustCompile(`(?m)^[^\t\n].*CONTEXT:  WAL redo at .* for Tablespace/CREATE: \d+ "(/[^"\n]+)"$`)
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		out = append(out, m[1])
	}
	return out
}

// tablespacesFile, beside the data directory that grows, lists one to a line
// the locations that the clone writes to.
func tablespacesFile(l appliance.Layout) string { return path.Join(partialDir(l), ".tablespaces") }

// clearFunction removes PostgreSQL 17's own directories from tablespaces: all
// that a server or a base backup makes there.
const clearFunction = `clear_tablespace() {
	for v in "$1"/PG_17_*; do
		if [ -d "$v" ] && [ ! -L "$v" ]; then rm -rf -- "$v"; fi
	done
}
`

// clearListed is for a partial directory $p. Without data the clone hasn't
// begun, or has ended well.
const clearListed = clearFunction + `if [ -f "$p/.pgapp" ] && [ -d "$p/data" ] && [ -f "$p/.tablespaces" ]; then
	while IFS= read -r t; do clear_tablespace "$t"; done <"$p/.tablespaces"
fi
`

// clearLinked is for a data directory $d that is to go.
const clearLinked = clearFunction + `for t in "$d"/pg_tblspc/*; do
	if [ -L "$t" ]; then clear_tablespace "$t"; fi
done
`

// readyTablespaces has a directory, empty, for each of the primary's
// tablespaces, which pg_basebackup fills, and lists them for who has to clear
// them.
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
		return appliance.NewProblem(appliance.ErrDataDirForeign, "the primary has a tablespace at %s, and there member %s holds something that pgapp did not make", found, o.Member).
			WithHint("empty the directory there: pgapp ssh %s; then run the same command again", o.Member)
	}
	return sh.WriteFile(ctx, tablespacesFile(sh.Layout()), []byte(strings.Join(locations, "\n")+"\n"), 0o600)
}

// checkLocation refuses what can't be made before the data directory is there,
// and what the list can't hold.
func checkLocation(l appliance.Layout, location string) error {
	for _, own := range []string{l.DataDir, partialDir(l), l.ConfDir} {
		if location == own || strings.HasPrefix(location, own+"/") {
			return appliance.NewProblem(appliance.ErrClone, "the tablespace at %s lies in a directory of pgapp's own", location).
				WithHint("move what is in it to a tablespace elsewhere, then DROP TABLESPACE")
		}
	}
	if strings.Contains(location, "\n") {
		return appliance.NewProblem(appliance.ErrClone, "the tablespace at %q has a line break in its path", location).
			WithHint("move what is in it to a tablespace elsewhere, then DROP TABLESPACE")
	}
	return nil
}
