// Package statebackup makes the automatic backups of pgapp's own state: the
// records of the clusters and their passwords, not PostgreSQL's data. They lie in
// the home, sealed to the home's own key.
package statebackup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/durable"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
	"pgapp/store"
	"pgapp/store/archive"
)

const (
	kept  = 7
	every = 24 * time.Hour
	// lookEvery is how often the loop looks whether a backup is due, besides
	// after every operation.
	lookEvery = 10 * time.Minute
	// topologySetting is the topology that was backed up last.
	topologySetting = "backed-up"
)

// ensureIdentity makes the home's age identity if there is none, and returns the
// identity's recipients.
func ensureIdentity(dir string) ([]string, error) {
	text, err := Key(dir)
	if errors.Is(err, os.ErrNotExist) {
		text, err = makeIdentity(dir)
	}
	if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(strings.NewReader(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading the home's %s: %w", home.BackupKey, err)
	}
	var out []string
	for _, id := range ids {
		if x, ok := id.(*age.X25519Identity); ok {
			out = append(out, x.Recipient().String())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the home's %s holds no usable identity", home.BackupKey)
	}
	return out, nil
}

// Key reads the home's key. Where it has none, the error is os.ErrNotExist.
func Key(dir string) (appliance.Secret, error) {
	b, err := os.ReadFile(filepath.Join(dir, home.BackupKey))
	return appliance.NewSecret(string(b)), err
}

func makeIdentity(dir string) (appliance.Secret, error) {
	identity, recipient, err := archive.NewIdentity()
	if err != nil {
		return identity, err
	}
	text := fmt.Sprintf("# opens the backups of pgapp's state; keep a copy elsewhere\n# public key: %s\n%s\n", recipient, identity.Reveal())
	if err := durable.WriteFile(filepath.Join(dir, home.BackupKey), []byte(text)); err != nil {
		return identity, fmt.Errorf("writing the home's %s: %w", home.BackupKey, err)
	}
	return appliance.NewSecret(text), nil
}

// List lists the automatic backups, newest first.
func List(homeDir string) ([]api.BackupFile, error) {
	dir := filepath.Join(homeDir, home.BackupsDir)
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

// Loop makes the automatic backups of the state.
type Loop struct {
	home       string
	st         *store.Store
	log        *slog.Logger
	recipients []string
	wake       supervise.Signal
}

// New makes the home's key where it has none.
func New(dir string, st *store.Store, log *slog.Logger) (*Loop, error) {
	recipients, err := ensureIdentity(dir)
	if err != nil {
		return nil, err
	}
	return &Loop{home: dir, st: st, log: log, recipients: recipients, wake: supervise.NewSignal()}, nil
}

// Wake asks the loop to check now whether a backup is due. It never blocks.
func (l *Loop) Wake() { l.wake.Set() }

// Run makes a backup whenever one is due, until ctx ends or a backup fails.
func (l *Loop) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := l.once(ctx, time.Now()); err != nil {
			return fmt.Errorf("backing up the state: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake.C():
		case <-tick.C:
		}
	}
}

// once makes a backup if one is due. While pgapp only observes, no backup is due:
// it would push out a better one.
func (l *Loop) once(ctx context.Context, now time.Time) error {
	o, err := control.GetObserveOnly(ctx, l.st)
	if err != nil || len(o.Clusters) > 0 {
		return err
	}
	topology, err := l.topology(ctx)
	if err != nil {
		return err
	}
	last, err := l.st.Setting(ctx, topologySetting)
	if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) {
		return err
	}
	files, err := List(l.home)
	if err != nil {
		return err
	}
	changed := !bytes.Equal(last, topology)
	if !changed && (last == nil || len(files) > 0 && now.Sub(files[0].CreatedAt) < every) {
		return nil
	}
	dir := filepath.Join(l.home, home.BackupsDir)
	// Not with its parents: a home that somebody removes must not come back.
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	path := filepath.Join(dir, archive.FileName(now))
	src := archive.Source{Store: l.st, Version: program.Version(), Now: now}
	if _, err := archive.WriteFile(ctx, path, src, archive.ForRecipients(l.recipients...)); err != nil {
		return err
	}
	l.log.Info("the state was backed up", "file", path)
	return errors.Join(l.st.PutSetting(ctx, topologySetting, topology), archive.Rotate(dir, kept))
}

// topology is a hash of the clusters, their members and primaries, or nil without
// clusters.
func (l *Loop) topology(ctx context.Context) ([]byte, error) {
	clusters, err := l.st.Clusters(ctx)
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
			m.WantStopped, m.Epoch, m.Return = false, 0, ""
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
