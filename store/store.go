// Package store keeps what pgapp knows in one bbolt file of its home:
// clusters, secrets, operations, API tokens, idempotency keys and settings.
// [Store] implements [appliance.Records] and [appliance.Journal]. DESIGN.md has the reasons.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
	"pgapp/appliance/home"
)

// The files of the store in the home.
const (
	// FileName is the database.
	FileName = "state.db"
	// LockName is the lock, a file of its own that is never replaced.
	LockName = home.Lock
	// SidecarName holds the instance's UUID, so that a vanished database is
	// noticed.
	SidecarName = "state.id"
)

// SchemaVersion is the schema that this build reads and writes.
const SchemaVersion = 2

// maxFinal is how many ended operations are kept.
const maxFinal = 200

// openTimeout bounds the wait for bbolt's own lock on the database, which
// only a check from outside can hold: the home's lock is already ours.
const openTimeout = 500 * time.Millisecond

// The buckets.
const (
	bucketMeta        = "meta"
	bucketClusters    = "clusters"
	bucketSecrets     = "secrets"
	bucketOperations  = "operations"
	bucketFinished    = "finished" // created time + id of every ended operation
	bucketRunning     = "running"  // cluster → id of its running operation
	bucketTokens      = "tokens"
	bucketIdempotency = "idempotency"
	bucketIdemTimes   = "idempotency_times" // created time + key
	bucketSettings    = "settings"
)

func buckets() []string {
	return []string{
		bucketMeta, bucketClusters, bucketSecrets, bucketOperations, bucketFinished,
		bucketRunning, bucketTokens, bucketIdempotency, bucketIdemTimes, bucketSettings,
	}
}

// Options of [Open]. The zero value is for a daemon.
type Options struct {
	// Lock is the home's lock, if the caller holds it; the store does not release
	// it then. With nil, Open takes the lock and Close releases it.
	Lock *HomeLock
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store is the open state of one home. Its methods may be called from several
// goroutines.
type Store struct {
	dir   string
	db    *bolt.DB
	lock  *HomeLock // nil where it is the caller's
	now   func() time.Time
	group group
	memo  memo

	// broken is set after a write that may or may not be on disk. From then on
	// nothing is written.
	broken atomic.Pointer[appliance.Problem]
	close  sync.Once
}

var (
	_ appliance.Records = (*Store)(nil)
	_ appliance.Journal = (*Store)(nil)
)

// Open opens the state of the home dir, an existing directory, and creates it if
// the home never had one. It returns a problem home-locked if another process has
// it open; home-unusable if dir can't hold it; store-damaged if the database is
// missing, empty or damaged (it is not changed); and store-newer if a newer pgapp
// wrote it. An older schema is migrated, and a copy is kept.
func Open(ctx context.Context, dir string, opts Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the state in %q: %w", dir, err)
	}
	if err := usableHome(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, now: opts.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if opts.Lock != nil && !opts.Lock.holds(dir) {
		return nil, fmt.Errorf("opening the state in %q: the given lock is another home's, or was released", dir)
	}
	if opts.Lock == nil {
		lock, err := Lock(dir)
		if err != nil {
			return nil, err
		}
		s.lock = lock
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	removeTemporary(s.dir)
	path := filepath.Join(s.dir, FileName)
	ids, err := readSidecar(s.dir)
	if err != nil {
		return err
	}
	exists, err := fileExists(path)
	switch {
	case err != nil:
		return err
	case !exists && ids != nil:
		return damaged(path, "it has vanished, although this home had one (%s)", SidecarName)
	case !exists:
		if err := create(ctx, s.dir, s.now()); err != nil {
			return err
		}
	}
	if err := inspectFile(path); err != nil {
		return err
	}
	if s.db, err = openBolt(path, false); err != nil {
		return err
	}
	if err := s.accept(ctx, ids); err != nil {
		return err
	}
	return nil
}

// accept checks the database's schema and instance, migrates an older schema, and
// checks every value.
func (s *Store) accept(ctx context.Context, ids []string) (err error) {
	path := s.db.Path()
	defer recoverDamage(path, &err)
	var info Info
	if err := s.db.View(func(tx *bolt.Tx) (err error) {
		info, err = readInfo(tx)
		return err
	}); err != nil {
		return asDamage(path, err)
	}
	if err := matchSidecar(s.dir, ids, info.Instance); err != nil {
		return err
	}
	if err := migrate(ctx, s.db, s.dir, info.Schema, SchemaVersion, migrations()); err != nil {
		return err
	}
	return asDamage(path, s.db.View(verifyValues))
}

// Close closes the state, and releases the home's lock if Open took it. A second
// call does nothing.
func (s *Store) Close() error {
	var err error
	s.close.Do(func() {
		s.memo.begin() // a closed state tells nothing
		if s.db != nil {
			if e := s.db.Close(); e != nil {
				err = fmt.Errorf("closing %q: %w", s.db.Path(), e)
			}
		}
		err = errors.Join(err, s.lock.Release())
	})
	return err
}

// Changed returns a channel that is closed as soon as something may have been written. Who
// takes the channel before a read misses nothing.
func (s *Store) Changed() <-chan struct{} { return s.memo.changed() }

// view runs fn in a read transaction.
func (s *Store) view(ctx context.Context, doing string, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.explain(doing, s.db.View(fn))
}

// update runs fn alone in one write transaction, once, synced to disk at
// return.
func (s *Store) update(ctx context.Context, doing string, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.explain(doing, s.commit(fn))
}

// updateShared is update, but may share the transaction, and its wait for the
// disk, with others that come at the same time. fn may run more than once.
func (s *Store) updateShared(ctx context.Context, doing string, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.explain(doing, s.group.do(ctx, fn, s.commit))
}

// commit is bbolt's Update, guarded against a commit of unknown outcome: if the
// last sync fails, this process reads the transaction, but it may not be on disk.
func (s *Store) commit(fn func(*bolt.Tx) error) error {
	if p := s.broken.Load(); p != nil {
		return p
	}
	var id int
	var refused error
	defer func() {
		if id != 0 {
			s.memo.commit()
		}
	}()
	err := s.db.Update(func(tx *bolt.Tx) error {
		s.memo.begin()
		id = tx.ID()
		refused = fn(tx)
		return refused
	})
	if err != nil && refused == nil && id != 0 {
		s.judge(id, err)
	}
	return err
}

// judge marks the store broken if transaction id is visible although its commit
// has failed.
func (s *Store) judge(id int, cause error) {
	_ = s.db.View(func(tx *bolt.Tx) error {
		if tx.ID() >= id {
			s.broken.CompareAndSwap(nil, appliance.NewProblem(appliance.ErrHomeUnusable,
				"the disk failed to confirm a write to %q; nothing more is written to it: %w", s.db.Path(), cause).
				WithHint("check the disk, then run `pgapp shutdown` and the command again"))
		}
		return nil
	})
}

// explain makes a full disk a problem store-full. Problems, and errors of a
// caller's own function, stay as they are.
func (s *Store) explain(doing string, err error) error {
	var p *appliance.Problem
	var own callerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own.err
	case errors.As(err, &p):
		return err
	case isFull(err):
		return appliance.NewProblem(appliance.ErrStoreFull, "%s: the disk of %q is full, nothing was changed: %w", doing, s.dir, err).
			WithHint("free disk space there, then run the same command again: it goes on where it stopped")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isFull also looks at the text, since bbolt drops the cause if it can't grow the
// file.
func isFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	return strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error())
}

// callerError carries the error of a function that the caller gave through a
// transaction.
type callerError struct{ err error }

func (e callerError) Error() string { return e.err.Error() }

func fileExists(path string) (bool, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking at %q: %w", path, err)
	case !fi.Mode().IsRegular():
		return false, appliance.NewProblem(appliance.ErrHomeUnusable, "%q is not a regular file", path).
			WithHint("move it away, or choose another home with --home")
	}
	return true, nil
}

func usableHome(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the home %q does not exist", dir).
			WithHint("make the directory, or choose another with --home")
	case err != nil:
		return fmt.Errorf("looking at the home %q: %w", dir, err)
	case !fi.IsDir():
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the home %q is not a directory", dir).
			WithHint("choose another with --home")
	}
	return nil
}

// damaged is the problem of a database that can't be used.
func damaged(path, format string, args ...any) *appliance.Problem {
	err := fmt.Errorf(format, args...)
	return appliance.NewProblem(appliance.ErrStoreDamaged, "the state %q is damaged: %w", path, err).
		WithHint("restore a backup: `pgapp state restore FILE`; the damaged file is left as it is")
}

// asDamage converts errors to store-damaged, except problems and cancellations.
func asDamage(path string, err error) error {
	var p *appliance.Problem
	if err == nil || errors.As(err, &p) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return damaged(path, "%w", err)
}

// recoverDamage makes a panic of bbolt, which asserts what it reads, a
// problem store-damaged.
func recoverDamage(path string, err *error) {
	if r := recover(); r != nil {
		*err = damaged(path, "%v", r)
	}
}
