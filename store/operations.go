package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Begin implements [appliance.Journal]. It returns a problem operation-running;
// conflict if the cluster to create, or an operation of that id, exists; or
// not-found if the cluster doesn't exist and isn't created. It is no error to
// supersede an operation that has ended meanwhile.
func (s *Store) Begin(ctx context.Context, begin appliance.Beginning) error {
	op, create := begin.Operation, begin.Create
	if op.ID == "" || op.State != appliance.OpRunning {
		return fmt.Errorf("beginning operation %q: it has no id or is not running", op.ID)
	}
	if create != nil && create.Cluster.Name != op.Cluster {
		return fmt.Errorf("beginning operation %q of cluster %q: it creates cluster %q", op.ID, op.Cluster, create.Cluster.Name)
	}
	return s.update(ctx, fmt.Sprintf("storing operation %q", op.ID), func(tx *bolt.Tx) error {
		if err := s.takeRunning(tx, op, begin.Supersede); err != nil {
			return err
		}
		if err := beginCluster(tx, op, create); err != nil {
			return err
		}
		if found, err := get(tx, bucketOperations, op.ID, &appliance.Operation{}); err != nil || found {
			return cmp.Or(err, error(appliance.NewProblem(appliance.ErrConflict, "operation %q exists already", op.ID)))
		}
		if begin.Record != nil {
			if _, err := changeCluster(tx, op.Cluster, begin.Record); err != nil {
				return err
			}
		}
		if err := s.remember(tx, begin.Request, op); err != nil {
			return err
		}
		return put(tx, bucketOperations, op.ID, op)
	})
}

// remember stores the request's key with the operation that it begins, unless it began one
// before.
func (s *Store) remember(tx *bolt.Tx, r *appliance.Request, op appliance.Operation) error {
	if r == nil {
		return nil
	}
	if err := s.forget(tx); err != nil {
		return err
	}
	if _, found, err := getRecord(tx, r.Key); err != nil || found {
		return err
	}
	return putRecord(tx, r.Key, Record{BodyHash: r.Hash, OperationID: op.ID, CreatedAt: op.CreatedAt})
}

// takeRunning makes op the cluster's running operation.
func (s *Store) takeRunning(tx *bolt.Tx, op appliance.Operation, supersede string) error {
	var id string
	found, err := get(tx, bucketRunning, op.Cluster, &id)
	if err != nil {
		return err
	}
	if found {
		old, err := getOperation(tx, id)
		if err != nil {
			return err
		}
		if id != supersede {
			return runningProblem(old)
		}
		now := s.now().UTC()
		old.State, old.EndedAt, old.SupersededBy = appliance.OpSuperseded, &now, op.ID
		old.Revision++
		if err := errors.Join(put(tx, bucketOperations, id, old), finish(tx, old)); err != nil {
			return err
		}
	}
	return put(tx, bucketRunning, op.Cluster, op.ID)
}

func runningProblem(old appliance.Operation) error {
	return appliance.NewProblem(appliance.ErrOperationRunning, "operation %s (%s) is running on cluster %q", old.ID, old.Kind, old.Cluster).
		WithHint("follow it with `pgapp ops %s --follow`", old.ID).WithOperation(old.ID)
}

func beginCluster(tx *bolt.Tx, op appliance.Operation, create *appliance.NewCluster) error {
	_, err := getCluster(tx, op.Cluster)
	if create == nil {
		return err
	}
	if err == nil {
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q exists already", op.Cluster)
	}
	if !appliance.IsProblem(err, appliance.ErrNotFound) {
		return err
	}
	return errors.Join(put(tx, bucketClusters, op.Cluster, create.Cluster), putSecrets(tx, op.Cluster, create.Secrets))
}

// SaveOperation implements [appliance.Journal]. A repeat is safe. It returns a
// problem not-found for an operation that never began or is no longer kept, and
// conflict for one that has ended in another state, such as superseded.
func (s *Store) SaveOperation(ctx context.Context, op appliance.Operation, removeCluster bool) error {
	return s.updateShared(ctx, fmt.Sprintf("storing operation %q", op.ID), func(tx *bolt.Tx) error {
		old, err := getOperation(tx, op.ID)
		if err != nil {
			return err
		}
		if old.State.Final() && old.State != op.State {
			return appliance.NewProblem(appliance.ErrConflict, "operation %s has ended as %s", op.ID, old.State).WithOperation(op.ID)
		}
		// These place the record in the store and never change.
		op.Cluster, op.CreatedAt = old.Cluster, old.CreatedAt
		if err := put(tx, bucketOperations, op.ID, op); err != nil {
			return err
		}
		if op.State.Final() && !old.State.Final() {
			if err := errors.Join(remove(tx, bucketRunning, op.Cluster), finish(tx, op)); err != nil {
				return err
			}
		}
		if removeCluster {
			return errors.Join(remove(tx, bucketClusters, op.Cluster), remove(tx, bucketSecrets, op.Cluster))
		}
		return nil
	})
}

// Operation returns the operation, or a problem not-found.
func (s *Store) Operation(ctx context.Context, id string) (appliance.Operation, error) {
	var op appliance.Operation
	err := s.view(ctx, fmt.Sprintf("reading operation %q", id), func(tx *bolt.Tx) (err error) {
		op, err = getOperation(tx, id)
		return err
	})
	return op, err
}

// Operations returns the running operations and the newest 200 ended ones, newest
// first, of one cluster, or of all if cluster is empty.
func (s *Store) Operations(ctx context.Context, cluster string) ([]appliance.Operation, error) {
	var out []appliance.Operation
	err := s.view(ctx, "reading the operations", func(tx *bolt.Tx) (err error) {
		out, err = list[appliance.Operation](tx, bucketOperations)
		return err
	})
	if err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(op appliance.Operation) bool { return cluster != "" && op.Cluster != cluster })
	slices.SortFunc(out, func(a, b appliance.Operation) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return out, nil
}

// Running returns the cluster's running operation, or a problem not-found.
func (s *Store) Running(ctx context.Context, cluster string) (appliance.Operation, error) {
	doing := fmt.Sprintf("reading the running operation of cluster %q", cluster)
	id, err := recall(ctx, s, doing, bucketRunning+"/"+cluster, func(tx *bolt.Tx) (id string, err error) {
		_, err = get(tx, bucketRunning, cluster, &id)
		return id, err
	})
	if err != nil {
		return appliance.Operation{}, err
	}
	if id == "" {
		return appliance.Operation{}, noneRunning(cluster)
	}
	var op appliance.Operation
	err = s.view(ctx, doing, func(tx *bolt.Tx) error {
		found, err := get(tx, bucketRunning, cluster, &id)
		if err == nil && !found {
			err = noneRunning(cluster)
		}
		if err != nil {
			return err
		}
		op, err = getOperation(tx, id)
		return err
	})
	return op, err
}

func noneRunning(cluster string) error {
	return appliance.NewProblem(appliance.ErrNotFound, "no operation is running on cluster %q", cluster)
}

func getOperation(tx *bolt.Tx, id string) (appliance.Operation, error) {
	var op appliance.Operation
	found, err := get(tx, bucketOperations, id, &op)
	if err == nil && !found {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no operation %q", id).
			WithHint("`pgapp ops` lists the operations")
	}
	return op, err
}

// finish notes that the operation has ended and drops the oldest ended ones
// beyond those that are kept.
func finish(tx *bolt.Tx, op appliance.Operation) error {
	if err := put(tx, bucketFinished, timeKey(op.CreatedAt, op.ID), op.ID); err != nil {
		return err
	}
	b, err := bucketOf(tx, bucketFinished)
	if err != nil {
		return err
	}
	var keys [][]byte
	if err := b.ForEach(func(k, _ []byte) error {
		keys = append(keys, bytes.Clone(k))
		return nil
	}); err != nil {
		return err
	}
	for _, k := range keys[:max(0, len(keys)-maxFinal)] {
		if err := errors.Join(remove(tx, bucketOperations, string(k[8:])), remove(tx, bucketFinished, string(k))); err != nil {
			return err
		}
	}
	return nil
}

// timeKey orders by time, then by id.
func timeKey(t time.Time, id string) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))) + id // #nosec G115 -- only the order matters, from 1970 on
}
