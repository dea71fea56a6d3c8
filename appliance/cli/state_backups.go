package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/google/renameio/v2"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/store"
	"pgapp/store/archive"
)

const (
	// backupsDir holds the automatic backups.
	backupsDir = "backups"
	// identityName is the age identity that they are sealed to.
	identityName = "backup.key"
	backupsKept  = 7
	backupEvery  = 24 * time.Hour
	// backupLook is how often it is looked whether one is due, besides after
	// every operation.
	backupLook = 10 * time.Minute
	// backedUpSetting is the topology that was backed up last.
	backedUpSetting = "backed-up"
)

// ensureIdentity makes the home's age identity where it has none, and returns
// the recipients of the one it has.
func ensureIdentity(home string) ([]string, error) {
	text, err := readIdentity(home)
	if errors.Is(err, os.ErrNotExist) {
		text, err = makeIdentity(home)
	}
	if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(strings.NewReader(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading the home's %s: %w", identityName, err)
	}
	var out []string
	for _, id := range ids {
		if x, ok := id.(*age.X25519Identity); ok {
			out = append(out, x.Recipient().String())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the home's %s holds no usable identity", identityName)
	}
	return out, nil
}

func readIdentity(home string) (appliance.Secret, error) {
	b, err := os.ReadFile(filepath.Join(home, identityName))
	return appliance.NewSecret(string(b)), err
}

func makeIdentity(home string) (appliance.Secret, error) {
	identity, recipient, err := archive.NewIdentity()
	if err != nil {
		return identity, err
	}
	text := fmt.Sprintf("# opens the backups of pgapp's state; keep a copy elsewhere\n# public key: %s\n%s\n", recipient, identity.Reveal())
	if err := renameio.WriteFile(filepath.Join(home, identityName), []byte(text), 0o600); err != nil {
		return identity, fmt.Errorf("writing the home's %s: %w", identityName, err)
	}
	return appliance.NewSecret(text), nil
}

// listBackups lists the automatic backups, newest first.
func listBackups(home string) ([]api.BackupFile, error) {
	dir := filepath.Join(home, backupsDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listing the backups: %w", err)
	}
	var out []api.BackupFile
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		out = append(out, api.BackupFile{Path: filepath.Join(dir, e.Name()), Bytes: st.Size(), CreatedAt: st.ModTime().UTC()})
	}
	slices.SortFunc(out, func(a, b api.BackupFile) int { return strings.Compare(b.Path, a.Path) })
	return out, nil
}

// backups makes automatic backups.
type backups struct {
	home       string
	st         *store.Store
	log        *slog.Logger
	recipients []string
	wake       chan struct{}
	wg         sync.WaitGroup
	cancel     context.CancelFunc
}

// startBackups begins to make backups until close is called.
func startBackups(ctx context.Context, home string, st *store.Store, log *slog.Logger) (*backups, error) {
	recipients, err := ensureIdentity(home)
	if err != nil {
		return nil, err
	}
	b := &backups{home: home, st: st, log: log, recipients: recipients, wake: make(chan struct{}, 1)}
	ctx, b.cancel = context.WithCancel(ctx)
	b.wg.Go(func() { b.run(ctx) })
	b.look()
	return b, nil
}

// look has somebody look soon whether a backup is due. It never blocks.
func (b *backups) look() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close ends the work and waits for it.
func (b *backups) close() {
	b.cancel()
	b.wg.Wait()
}

func (b *backups) run(ctx context.Context) {
	tick := time.NewTicker(backupLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-tick.C:
		}
		if err := b.once(ctx, time.Now()); err != nil && ctx.Err() == nil {
			b.log.Error("backing up the state", "error", err)
		}
	}
}

// once makes a backup where one is due. While pgapp only observes, none is:
// it would take the place of a better one.
func (b *backups) once(ctx context.Context, now time.Time) error {
	o, err := control.GetObserveOnly(ctx, b.st)
	if err != nil || len(o.Clusters) > 0 {
		return err
	}
	topology, err := b.topology(ctx)
	if err != nil {
		return err
	}
	last, err := b.st.Setting(ctx, backedUpSetting)
	if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) {
		return err
	}
	files, err := listBackups(b.home)
	if err != nil {
		return err
	}
	changed := !bytes.Equal(last, topology)
	if !changed && (last == nil || len(files) > 0 && now.Sub(files[0].CreatedAt) < backupEvery) {
		return nil
	}
	dir := filepath.Join(b.home, backupsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, archive.FileName(now))
	src := archive.Source{Store: b.st, Version: version, Now: now}
	if _, err := archive.WriteFile(ctx, path, src, archive.ForRecipients(b.recipients...)); err != nil {
		return err
	}
	b.log.Info("the state was backed up", "file", path)
	return errors.Join(b.st.PutSetting(ctx, backedUpSetting, topology), archive.Rotate(dir, backupsKept))
}

// topology sums up which clusters there are, their members, and who is
// primary; nil where there is none.
func (b *backups) topology(ctx context.Context) ([]byte, error) {
	clusters, err := b.st.Clusters(ctx)
	if err != nil || len(clusters) == 0 {
		return nil, err
	}
	type facts struct {
		UUID, Primary string
		Epoch         uint64
		Timeline      uint32
		Ready         bool
		Members       []appliance.Member
	}
	var all []facts
	for _, c := range clusters {
		f := facts{UUID: c.UUID, Primary: c.Primary, Epoch: c.Epoch, Timeline: c.Timeline, Ready: c.Initialised}
		for _, m := range c.Members {
			m.WantStopped = false
			f.Members = append(f.Members, m)
		}
		all = append(all, f)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("summing up the topology: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}
