package postgres

import (
	"context"
	"path"

	"pgapp/appliance"
)

// partialDir is the directory in which a new data directory is made; a file
// .pgapp in it marks it as pgapp's.
func partialDir(l appliance.Layout) string { return l.DataDir + ".partial" }

// partialData is inside of the marked directory, since initdb and pg_basebackup
// need an empty directory.
func partialData(l appliance.Layout) string { return path.Join(partialDir(l), "data") }

// prepareScript removes an earlier attempt's partial directory $1 and creates a
// new one. It removes the marker last, so that a kill leaves a marked or an
// empty directory.
const prepareScript = `set -eu
p=$1
if [ -L "$p" ]; then echo foreign; exit 0; fi
if [ -e "$p" ]; then
` + clearListed + `	if [ -f "$p/.pgapp" ]; then rm -rf -- "$p/data"; rm -f -- "$p/.tablespaces" "$p/.pgapp"; fi
	rmdir -- "$p" 2>/dev/null || { echo foreign; exit 0; }
fi
mkdir -m 0700 -- "$p"
: >"$p/.pgapp"
echo ready`

func preparePartial(ctx context.Context, sh Shell) error {
	dir := partialDir(sh.Layout())
	out, err := script(ctx, sh, prepareScript, dir)
	if err != nil {
		return err
	}
	if out != "ready" {
		return foreignPartial(dir)
	}
	return nil
}

func foreignPartial(dir string) error {
	return appliance.NewProblem(appliance.ErrDataDirForeign, "%s contains files that pgapp did not make", dir).
		WithHint("move it away, then run the same command again")
}

// finishScript moves the new data directory into its place: rename(2) replaces
// only an empty directory.
const finishScript = `set -eu
mv -T -- "$1/data" "$2"
rm -f -- "$1/.tablespaces" "$1/.pgapp"
rmdir -- "$1"`

func finishPartial(ctx context.Context, sh Shell) error {
	l := sh.Layout()
	_, err := script(ctx, sh, finishScript, partialDir(l), l.DataDir)
	return err
}

// discardPartial removes the partial directory if it is pgapp's.
func discardPartial(ctx context.Context, sh Shell) error {
	_, err := script(ctx, sh, "set -eu\np=$1\n"+clearListed+`if [ -f "$p/.pgapp" ]; then rm -rf -- "$p/data"; rm -f -- "$p/.tablespaces" "$p/.pgapp"; rmdir -- "$p"; fi`, partialDir(sh.Layout()))
	return err
}
