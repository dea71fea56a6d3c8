package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// MaintenanceDatabase is the database of pgapp's own sessions.
const MaintenanceDatabase = "postgres"

// wipedFile in Layout.ConfDir contains the id of the operation that removed the
// data directory last.
const wipedFile = "wiped"

// FileSystemBytes is the size of the data directory's file system.
func FileSystemBytes(ctx context.Context, sh Shell) (int64, error) {
	dir := path.Dir(sh.Layout().DataDir)
	var st unix.Statfs_t
	// A program would cost a change of primary some milliseconds.
	if _, own := sh.(appliance.DirMaker); !own && unix.Statfs(dir, &st) == nil {
		return int64(st.Blocks) * st.Frsize, nil // #nosec G115 -- less than 2^63 bytes
	}
	res, err := sh.Run(ctx, appliance.Command{Argv: []string{"stat", "-f", "-c", "%b %S", "--", dir}})
	if err != nil {
		return 0, fmt.Errorf("asking for the size of the file system of %s: %w", dir, err)
	}
	var blocks, size int64
	if _, err := fmt.Sscan(string(res.Stdout), &blocks, &size); err != nil {
		return 0, fmt.Errorf("asking for the size of the file system of %s: %w", dir, err)
	}
	return blocks * size, nil
}

// Accepts tells whether a server at the address accepts sessions now.
func Accepts(ctx context.Context, host string, port int) bool {
	return probe(ctx, net.JoinHostPort(host, strconv.Itoa(port))) == nil
}

// RolesComplete tells whether [EnsureRoles] has succeeded: it creates the marker
// table in the same transaction as the roles.
func RolesComplete(ctx context.Context, c *Control) (bool, error) {
	var ok bool
	err := c.row(ctx, "SELECT to_regclass('"+markerTable+"') IS NOT NULL", nil, &ok)
	return ok, err
}

// Wipe removes the data directory as [RemoveDataDir] does, and records the
// operation's id for [WipedBy].
func Wipe(ctx context.Context, sh Shell, operationID string) error {
	if err := RemoveDataDir(ctx, sh); err != nil {
		return err
	}
	if err := RewindEnded(ctx, sh); err != nil {
		return err
	}
	if err := sh.WriteFile(ctx, path.Join(sh.Layout().ConfDir, wipedFile), []byte(operationID), 0o600); err != nil {
		return fmt.Errorf("recording the removal of %s: %w", sh.Layout().DataDir, err)
	}
	return nil
}

// WipedBy tells whether [Wipe] has succeeded for the operation.
func WipedBy(ctx context.Context, sh Shell, operationID string) (bool, error) {
	b, err := sh.ReadFile(ctx, path.Join(sh.Layout().ConfDir, wipedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(b) == operationID, err
}

// PassFileLine is a line of libpq's password file (documentation section
// 32.16). Database may be * for any.
func PassFileLine(host string, port int, database, user string, password appliance.Secret) (string, error) {
	secret, err := passfileField(password.Reveal())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s:%d:%s:%s:%s\n", host, port, database, user, secret), nil
}
