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

	"golang.org/x/sys/unix"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/durable"
	"pgapp/appliance/home"
)

const (
	// sqlPart is the prefix of files that are not complete.
	sqlPart = ".part-"
	// sqlReserve is the space in bytes that SQL leaves to the clusters of the home.
	sqlReserve = 256 << 20
)

// runningClusters tells which clusters there are and what runs on them.
type runningClusters interface {
	Cluster(ctx context.Context, name string) (appliance.Cluster, error)
	Running(ctx context.Context, cluster string) (appliance.Operation, error)
}

// sqlFiles implements api.SQLFiles in the home.
type sqlFiles struct {
	// dir is the home.
	dir string
	st  runningClusters
	log *slog.Logger
}

// KeepSQL implements api.SQLFiles.
func (s sqlFiles) KeepSQL(ctx context.Context, cluster, name string, in io.Reader) (api.SQLFile, error) {
	target := home.SQLPath(s.dir, cluster, name)
	n, err := s.keep(ctx, target, in)
	if err != nil {
		s.DropSQL(ctx, cluster)
		return api.SQLFile{}, fmt.Errorf("keeping the SQL that was sent: %w", err)
	}
	return api.SQLFile{Path: target, Bytes: n}, nil
}

func (s sqlFiles) keep(ctx context.Context, target string, in io.Reader) (n int64, err error) {
	dir := filepath.Join(s.dir, home.SQLDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(dir, sqlPart) // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = f.Close() // a repeat; the first one's error counts
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if n, err = copySQL(ctx, f, in); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, appliance.NewProblem(appliance.ErrUsage, "the SQL is empty").WithHint("check the command that writes it")
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return 0, err
	}
	// The file's name, and its directory's where that is new.
	return n, errors.Join(durable.SyncDir(filepath.Dir(target)), durable.SyncDir(dir))
}

// copySQL copies until the end, or until the disk has no room to spare.
func copySQL(ctx context.Context, f *os.File, in io.Reader) (n int64, err error) {
	const piece = 4 << 20
	for ctx.Err() == nil {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
			return n, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
		}
		if int64(fs.Bavail)*fs.Bsize < sqlReserve {
			return n, appliance.NewProblem(appliance.ErrHostNoSpace, "%s has less than %d MiB left after %d MiB of SQL", filepath.Dir(f.Name()), sqlReserve>>20, n>>20).
				WithHint("free some space, or load from a file")
		}
		m, err := io.CopyN(f, in, piece)
		n += m
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, ctx.Err()
}

// DropSQL implements api.SQLFiles. The SQL is still needed while an operation runs,
// and if the cluster's creation has failed, since it may be resumed.
func (s sqlFiles) DropSQL(ctx context.Context, cluster string) {
	c, err := s.st.Cluster(ctx, cluster)
	if err == nil && (c.Phase == appliance.PhaseCreating || c.Phase == appliance.PhaseFailed) {
		return
	}
	if err == nil {
		if _, err = s.st.Running(ctx, cluster); err == nil {
			return
		}
	}
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		s.remove(ctx, cluster)
	}
}

// remove removes the SQL of a cluster that has loaded it.
func (s sqlFiles) remove(_ context.Context, cluster string) {
	if err := removeSQL(s.dir, cluster); err != nil {
		s.log.Warn("SQL that is no longer needed stays", "cluster", cluster, "error", err)
	}
}

// removeSQL removes the SQL that was sent for the cluster.
func removeSQL(homeDir, cluster string) error {
	dir := filepath.Join(homeDir, home.SQLDir)
	err := os.RemoveAll(filepath.Join(dir, cluster))
	_ = os.Remove(dir) // refused while there is more in it
	return err
}

// sweep removes the files of a killed daemon.
func (s sqlFiles) sweep(ctx context.Context) {
	entries, _ := os.ReadDir(filepath.Join(s.dir, home.SQLDir))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sqlPart) {
			_ = os.Remove(filepath.Join(s.dir, home.SQLDir, e.Name()))
			continue
		}
		if appliance.ValidName(e.Name()) {
			s.DropSQL(ctx, e.Name())
		}
	}
}
