package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/store"
	"pgapp/store/archive"
)

// VerifyStateBackup opens a backup of the state and checks all of it, in a
// directory that only its user can look into and that is removed again. The keys
// are a passphrase, or age identities separated by commas; without either, the
// home's own key.
func VerifyStateBackup(ctx context.Context, dir, path string, passphrase, identities appliance.Secret) (appliance.StateManifest, error) {
	keys := archive.Keys{
		Passphrase: passphrase,
		Identities: appliance.NewSecret(strings.ReplaceAll(identities.Reveal(), ",", "\n")),
	}
	if passphrase.Empty() && identities.Empty() {
		// Without a key the reader says if the backup needs a passphrase.
		keys.Identities, _ = statebackup.Key(dir)
	}
	m, err := verifyArchive(ctx, dir, path, keys)
	out := appliance.StateManifest{
		Format: m.Format, PgappVersion: m.PgappVersion, SchemaVersion: m.SchemaVersion,
		Instance: m.Instance, Epoch: m.Epoch, Epochs: m.Epochs, CreatedAt: m.CreatedAt,
	}
	for _, p := range m.Parts {
		out.Parts = append(out.Parts, appliance.StatePart(p))
	}
	return out, err
}

func verifyArchive(ctx context.Context, dir, path string, keys archive.Keys) (archive.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return archive.Manifest{}, appliance.NewProblem(appliance.ErrUsage, "opening the backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	temp, err := os.MkdirTemp("", "pgapp-verify-")
	if err != nil {
		return archive.Manifest{}, fmt.Errorf("unpacking the backup: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	dest := filepath.Join(temp, "state")
	m, err := archive.Read(ctx, f, keys, dest, archive.Limits{})
	if err != nil {
		return m, err
	}
	r, err := checkFile(ctx, dir, filepath.Join(dest, store.FileName))
	if err == nil && !r.OK {
		err = appliance.NewProblem(appliance.ErrArchiveInvalid, "the backup's state is not sound").WithDetail(strings.Join(r.Findings, "\n"))
	}
	return m, err
}
