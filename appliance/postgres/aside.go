package postgres

import (
	"context"

	"pgapp/appliance"
)

// asideDir keeps the old data directory while a clone takes its place; a file .pgapp
// in it marks it as pgapp's.
func asideDir(l appliance.Layout) string { return l.DataDir + ".old" }

// asideScript moves the data directory $1 into $2. An old directory that is already
// there is kept: $1 is then a clone. With $3, a directory with tablespaces is not
// moved, since they have the places of the clone's.
const asideScript = `set -eu
if [ -e "$2/data" ] || [ ! -e "$1" ]; then echo aside; exit 0; fi
if [ -n "$3" ] && [ -n "$(ls -A -- "$1/pg_tblspc")" ]; then echo tablespaces; exit 0; fi
if [ -e "$2" ] && [ ! -f "$2/.pgapp" ]; then rmdir -- "$2"; fi
if [ ! -e "$2" ]; then mkdir -m 0700 -- "$2"; fi
: >"$2/.pgapp"
mv -T -- "$1" "$2/data"
echo aside`

// SetAside moves a stopped member's data directory away, so that a clone can take its
// place: until [DropAside] it can be put back. It tells whether the directory could be
// kept; one with tablespaces on a machine of its own can't. A repeat does nothing.
func SetAside(ctx context.Context, sh Shell) (kept bool, err error) {
	l, own := sh.Layout(), ""
	if _, ok := sh.(appliance.DirMaker); ok {
		own = "own"
	}
	out, err := script(ctx, sh, asideScript, l.DataDir, asideDir(l), own)
	if err != nil {
		return false, failure(appliance.ErrClone, err, "moving the old data directory %s away", l.DataDir)
	}
	return out == "aside", nil
}

// putBackScript moves the old directory $2 back to $1, if nothing is there.
const putBackScript = `set -eu
if [ ! -e "$2/data" ] || [ -e "$1" ]; then exit 0; fi
mv -T -- "$2/data" "$1"
rm -f -- "$2/.pgapp"
rmdir -- "$2"`

// PutBack returns the old data directory to its place after a clone has failed. It
// does nothing if there is none, or if a clone is in its place.
func PutBack(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	if err := discardPartial(ctx, sh); err != nil {
		return failure(appliance.ErrClone, err, "removing the unfinished clone")
	}
	if _, err := script(ctx, sh, putBackScript, l.DataDir, asideDir(l)); err != nil {
		return failure(appliance.ErrClone, err, "putting the old data directory back to %s", l.DataDir)
	}
	return nil
}

// dropAside removes the old data directory $p.
const dropAside = `if [ -f "$p/.pgapp" ]; then rm -rf -- "$p/data"; rm -f -- "$p/.pgapp"; rmdir -- "$p"; fi
`

// DropAside removes the old data directory, once the clone streams. A repeat does
// nothing.
func DropAside(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	if _, err := script(ctx, sh, "set -eu\np=$1\n"+dropAside, asideDir(l)); err != nil {
		return failure(appliance.ErrClone, err, "removing the old data directory %s", asideDir(l))
	}
	return nil
}

// DropClone removes a clone that proved useless, where the old data directory is kept beside
// it. Without one it does nothing, and neither does a repeat.
func DropClone(ctx context.Context, sh Shell) error {
	kept, err := OldAside(ctx, sh)
	if err != nil || !kept {
		return err
	}
	return removeDataDir(ctx, sh, "")
}

// OldAside tells whether an old data directory is kept.
func OldAside(ctx context.Context, sh Shell) (bool, error) {
	out, err := script(ctx, sh, `if [ -e "$1/data" ]; then echo there; fi`, asideDir(sh.Layout()))
	if err != nil {
		return false, failure(appliance.ErrClone, err, "looking for an old data directory")
	}
	return out == "there", nil
}
