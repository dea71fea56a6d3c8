package cli

import (
	"context"
	"io/fs"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/program"
)

// Local is what commands do in their own process, without the daemon's API. The
// program's main hands it over, so that the command line knows none of the rooms
// behind it. dir is always the home.
type Local struct {
	// Serve runs the daemon until ctx ends or a client asks it to.
	Serve func(ctx context.Context, s program.Serving) error
	// Endpoint runs the process behind the home's endpoints until it has nothing left
	// to do.
	Endpoint func(ctx context.Context, dir string) error
	// KillEndpoint kills that process, and returns when it has ended.
	KillEndpoint func(ctx context.Context, dir string) error
	// Doctor checks what this host needs for a cluster of the spec. With fix it
	// first mends what is safe to mend, and names what it mended.
	Doctor func(ctx context.Context, dir string, s appliance.Spec, fix bool) (findings []appliance.Finding, mended []string, err error)
	// CheckStateFile checks a database that no process uses.
	CheckStateFile func(ctx context.Context, path string) (api.StateReport, error)
	// VerifyStateBackup opens a backup of the state and checks all of it.
	// Identities are separated by commas; without any key the home's own is taken.
	VerifyStateBackup func(ctx context.Context, dir, path string, passphrase, identities appliance.Secret) (appliance.StateManifest, error)
	// StateBackups lists the automatic backups of the state, newest first.
	StateBackups func(dir string) ([]api.BackupFile, error)
	// Pages holds the pages of the movie-rental site.
	Pages fs.FS
	// StateKey is the key that opens them, or os.ErrNotExist.
	StateKey func(dir string) (appliance.Secret, error)
}
