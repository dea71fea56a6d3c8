package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/program"
	"pgapp/store"
	"pgapp/store/archive"
)

// stagingPrefix is the prefix of directories in which archives are unpacked. They
// are removed at the end of the request, or else at the daemon's next start.
const stagingPrefix = ".restore"

// stateAdmin is the daemon's own state behind the API.
type stateAdmin struct {
	home string
	st   *store.Store // nil in recovery
	lock *store.HomeLock
	log  *slog.Logger
	// renew closes the store, calls change to replace it, and starts the daemon's
	// work again, whatever change returns.
	renew func(change func() error) error
	// alone is [control.Controller.Alone], nil in recovery.
	alone func(context.Context, control.Act, func(context.Context) error) error
	// one is held during a request that works on the state.
	one sync.Mutex
}

var _ api.State = (*stateAdmin)(nil)

// begin refuses a second request at the same time. The caller calls end.
func (s *stateAdmin) begin() (end func(), err error) {
	if !s.one.TryLock() {
		return nil, appliance.NewProblem(appliance.ErrConflict, "another request is working on the state").WithHint("try again when that request has ended")
	}
	clearStaging(s.home)
	return func() {
		clearStaging(s.home)
		s.one.Unlock()
	}, nil
}

// clearStaging removes unpacked archives. A directory that can't be removed does no
// harm.
func clearStaging(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, stagingPrefix+"*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "."+stagingPrefix+"*"))
	for _, path := range append(old, hidden...) {
		_ = os.RemoveAll(path)
	}
}

func (s *stateAdmin) staging() string { return filepath.Join(s.home, stagingPrefix) }

// Backup implements api.State.
func (s *stateAdmin) Backup(ctx context.Context, req api.BackupRequest, w io.Writer) error {
	if s.st == nil {
		return appliance.NewProblem(appliance.ErrDaemonRecovery, "there is no usable state to back up")
	}
	if err := req.Check(); err != nil {
		return err
	}
	seal := archive.Plaintext()
	switch {
	case len(req.Recipients) > 0:
		seal = archive.ForRecipients(req.Recipients...)
	case !req.Passphrase.Empty():
		seal = archive.WithPassphrase(req.Passphrase)
	}
	_, err := archive.Write(ctx, w, archive.Source{Store: s.st, Version: program.Version(), Now: time.Now()}, seal)
	return err
}

// Restore implements api.State.
func (s *stateAdmin) Restore(ctx context.Context, r io.Reader, req api.RestoreRequest) (api.RestoreResult, error) {
	var out api.RestoreResult
	end, err := s.begin()
	if err != nil {
		return out, err
	}
	defer end()
	keys := archive.Keys{Passphrase: req.Passphrase, Identities: req.Identities}
	if keys.Passphrase.Empty() && keys.Identities.Empty() {
		if keys.Identities, err = statebackup.Key(s.home); err != nil && !errors.Is(err, os.ErrNotExist) {
			return out, err
		}
	}
	m, err := archive.Read(ctx, r, keys, s.staging(), archive.Limits{})
	if err != nil {
		return out, err
	}
	if err := s.accept(ctx, m, req.Adopt); err != nil {
		return out, err
	}
	path := filepath.Join(s.staging(), store.FileName)
	report, err := checkFile(ctx, s.home, path)
	if err != nil {
		return out, err
	}
	if !report.OK {
		return out, appliance.NewProblem(appliance.ErrArchiveInvalid, "the archive's state is not sound; nothing was changed").
			WithDetail(strings.Join(report.Findings, "\n"))
	}
	info, clusters, err := prepare(ctx, s.staging(), m)
	if err != nil {
		return out, err
	}
	// The epochs are checked again, as the migrated database has them.
	m.Epochs = info.Epochs
	if err := s.accept(ctx, m, req.Adopt); err != nil {
		return out, err
	}
	out = api.RestoreResult{Instance: m.Instance, CreatedAt: m.CreatedAt, Clusters: clusters}
	out.Kept, err = s.install(ctx, path, m)
	return out, err
}

// install puts the unpacked state in place of the living one, and returns where that
// is kept.
func (s *stateAdmin) install(ctx context.Context, path string, m archive.Manifest) (kept string, err error) {
	err = s.exclusively(ctx, control.ActRestore, func(ctx context.Context) error {
		s.log.Info("restoring the state", "instance", m.Instance, "taken", m.CreatedAt)
		// From here on the restore is done or not, whether the client waits or not.
		ctx = context.WithoutCancel(ctx)
		return s.renew(func() (err error) {
			kept, err = store.Replace(ctx, s.home, s.lock, path, time.Now())
			return err
		})
	})
	return kept, err
}

// accept compares the archive with the current state, or with the names that are
// left of it.
func (s *stateAdmin) accept(ctx context.Context, m archive.Manifest, adopt bool) error {
	if s.st != nil {
		living, err := s.st.Info(ctx)
		if err != nil {
			return err
		}
		return m.Accept(&living, adopt)
	}
	b, err := os.ReadFile(filepath.Join(s.home, store.SidecarName))
	if ids := strings.Fields(string(b)); err == nil && len(ids) > 0 {
		for _, id := range ids {
			if id == m.Instance {
				return nil
			}
		}
		return m.Accept(&store.Info{Instance: ids[0]}, adopt)
	}
	return m.Accept(nil, adopt)
}

// exclusively calls work while no operation runs, and none begins before work has
// returned. In recovery there are none.
func (s *stateAdmin) exclusively(ctx context.Context, act control.Act, work func(context.Context) error) error {
	if s.alone == nil {
		return work(ctx)
	}
	return s.alone(ctx, act, work)
}

// prepare migrates an unpacked state, ends its running operations and marks it as
// observe-only, all before the state is in place.
func prepare(ctx context.Context, dir string, m archive.Manifest) (info store.Info, names []string, err error) {
	st, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return info, nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	clusters, err := st.Clusters(ctx)
	if err != nil {
		return info, nil, err
	}
	now := time.Now().UTC()
	for _, c := range clusters {
		names = append(names, c.Name)
		o, err := st.Running(ctx, c.Name)
		if appliance.IsProblem(err, appliance.ErrNotFound) {
			continue
		}
		if err != nil {
			return info, nil, err
		}
		o.State, o.EndedAt = appliance.OpCancelled, &now
		o.Error = appliance.NewProblem(appliance.ErrCancelled, "the state was restored from a backup that was taken while operation %s ran", o.ID)
		if err := st.SaveOperation(ctx, o, false); err != nil {
			return info, nil, err
		}
	}
	if err := control.SetObserveOnly(ctx, st, control.ObserveOnly{
		Reason: fmt.Sprintf("the state was restored at %s from a backup of %s", now.Format(time.RFC3339), m.CreatedAt.Format(time.RFC3339)),
		Since:  now, Clusters: names,
	}); err != nil {
		return info, nil, err
	}
	info, err = st.Info(ctx)
	return info, names, err
}

// Check implements api.State.
func (s *stateAdmin) Check(ctx context.Context) (api.StateReport, error) {
	if s.st == nil {
		return checkFile(ctx, s.home, filepath.Join(s.home, store.FileName))
	}
	end, err := s.begin()
	if err != nil {
		return api.StateReport{}, err
	}
	defer end()
	path := filepath.Join(s.staging(), store.FileName)
	if err := s.copyTo(ctx, path); err != nil {
		return api.StateReport{}, err
	}
	return checkFile(ctx, s.home, path)
}

func (s *stateAdmin) copyTo(ctx context.Context, path string) error {
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("copying the state: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copying the state: %w", err)
	}
	_, err = s.st.Backup(ctx, f)
	return errors.Join(err, f.Close())
}

// Compact implements api.State.
func (s *stateAdmin) Compact(ctx context.Context) (api.CompactResult, error) {
	var out api.CompactResult
	end, err := s.begin()
	if err != nil {
		return out, err
	}
	defer end()
	err = s.exclusively(ctx, control.ActCompact, func(ctx context.Context) error {
		out, err = s.compact(context.WithoutCancel(ctx))
		return err
	})
	return out, err
}

func (s *stateAdmin) compact(ctx context.Context) (out api.CompactResult, err error) {
	if err := os.Mkdir(s.staging(), 0o700); err != nil {
		return out, fmt.Errorf("compacting the state: %w", err)
	}
	from, to := filepath.Join(s.home, store.FileName), filepath.Join(s.staging(), store.FileName)
	err = s.renew(func() error {
		if err := store.Compact(ctx, from, to); err != nil {
			return err
		}
		out = api.CompactResult{BytesBefore: sizeOf(from), BytesAfter: sizeOf(to)}
		kept, err := store.Replace(ctx, s.home, s.lock, to, time.Now())
		if err != nil || kept == "" {
			return err
		}
		return os.Remove(kept) // it holds nothing that the new one doesn't
	})
	return out, err
}

func sizeOf(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// Backups implements api.State.
func (s *stateAdmin) Backups(context.Context) ([]api.BackupFile, error) {
	return statebackup.List(s.home)
}
