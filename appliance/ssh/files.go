package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"pgapp/appliance"
)

// exitNoFile is readScript's exit code for a missing file.
const exitNoFile = 66

const readScript = `if [ ! -e "$1" ] && [ ! -L "$1" ]; then exit 66; fi
exec cat -- "$1"`

// writeScript compares the length before the rename: a lost connection also
// ends cat, without an error.
const writeScript = `set -e
umask 077
new=$(mktemp -- "$1.XXXXXXXX")
trap 'rm -f -- "$new"' EXIT
cat >"$new"
[ "$(wc -c <"$new")" -eq "$2" ] || { echo "only a part of the file arrived" >&2; exit 65; }
chmod "$3" "$new"
sync "$new"
mv -fT -- "$new" "$1"
trap - EXIT
sync "$(dirname -- "$1")"`

// WriteFile replaces the file atomically and durably; its directory must
// exist. A repeat is safe.
func (s Shell) WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	_, err := s.Run(ctx, appliance.Command{
		Argv: []string{
			"sh", "-c", writeScript, "sh", path,
			strconv.Itoa(len(data)), fmt.Sprintf("%04o", mode.Perm()),
		},
		Stdin: bytes.NewReader(data),
	})
	if err != nil {
		return fmt.Errorf("writing %q on %s: %w", path, s.client.cfg.Address, err)
	}
	return nil
}

// ReadFile returns the file's contents. For a missing file the error is
// fs.ErrNotExist.
func (s Shell) ReadFile(ctx context.Context, path string) ([]byte, error) {
	r, err := s.Run(ctx, appliance.Command{Argv: []string{"sh", "-c", readScript, "sh", path}})
	var exit *appliance.ExitError
	if errors.As(err, &exit) && exit.Code == exitNoFile {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q on %s: %w", path, s.client.cfg.Address, err)
	}
	return r.Stdout, nil
}
