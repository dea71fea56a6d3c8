package libvirt

import (
	"context"
	"fmt"

	"pgapp/appliance"
)

var _ appliance.DirMaker = (*guest)(nil)

// makeDirScript makes the directory $1 for the user $2. An existing empty
// directory is given to the user.
const makeDirScript = `set -eu
umask 022
made=
if [ ! -e "$1" ] && [ ! -L "$1" ]; then made=made; elif [ ! -d "$1" ] || [ -n "$(ls -A -- "$1")" ]; then exit 0; fi
install -d -o "$2" -g "$(id -gn -- "$2")" -m 0700 -- "$1"
echo "$made"`

// MakeDir makes the directory as root.
func (g *guest) MakeDir(ctx context.Context, path string) (bool, error) {
	out, err := g.root(ctx, makeDirScript, path, postgres)
	if err != nil {
		return false, fmt.Errorf("making directory %s on %q: %w", path, g.member.Name, err)
	}
	return out != "", nil
}
