package rental

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// reading calls do in a session of a member that may answer the client: under session
// consistency, one that has the client's own writes.
func (s *Site) reading(ctx context.Context, what string, client Token, do func(context.Context, querier) error) (Answer, error) {
	var a Answer
	n := 0
	err := s.again(ctx, what, func(ctx context.Context) error {
		n++
		var stale bool
		err := s.readOn(ctx, s.read, &a, func(q querier) error {
			if stale = s.cfg.Consistency == Session && !a.fresh(client); stale {
				return nil
			}
			return do(ctx, q)
		})
		if err != nil || !stale {
			return err
		}
		err = s.readOn(ctx, s.write, &a, func(q querier) error {
			if !a.fresh(client) {
				return errOldPrimary
			}
			return do(ctx, q)
		})
		a.Redirected = true
		return err
	})
	if err != nil {
		return a, err
	}
	a.Attempts = n
	s.counts.reads.Add(1)
	if a.Standby {
		s.counts.standbyReads.Add(1)
	}
	if a.Redirected {
		s.counts.redirected.Add(1)
	}
	return a, nil
}

// readOn asks for the member's position and then calls do, in one session of the pool.
// What do reads is no older than the position.
func (s *Site) readOn(ctx context.Context, pool *pgxpool.Pool, a *Answer, do func(querier) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release()
	if *a, err = s.position(ctx, conn); err != nil {
		return err
	}
	return do(conn)
}

// writing calls do in a transaction on the primary and commits it. It repeats both when
// the commit's fate is open, so do must find its own earlier work by the request's id.
func (s *Site) writing(ctx context.Context, what string, do func(context.Context, pgx.Tx) error) (Answer, error) {
	var a Answer
	n, newMonth := 0, false
	err := s.again(ctx, what, func(ctx context.Context) error {
		n++
		err := s.transact(ctx, &a, do)
		switch sqlState(err) {
		case "25006":
			s.write.Reset() // the member is a standby now: its sessions are of no use
		case "23514":
			// No partition holds the payment: a new month has begun. Where another client was
			// in the way, the partition is made by that one or by the next attempt.
			if made := s.transact(ctx, &a, addPartition); !newMonth || made != nil && repeatable(made) {
				newMonth = newMonth || made == nil || !repeatable(made)
				return errNoPartition
			}
		}
		return err
	})
	if err != nil {
		return a, err
	}
	a.Attempts, a.Wrote = n, true
	s.counts.writes.Add(1)
	return a, nil
}

// transact runs one transaction. It succeeds only when the commit is confirmed and the
// primary's position after the commit is known.
func (s *Site) transact(ctx context.Context, a *Answer, do func(context.Context, pgx.Tx) error) error {
	conn, err := s.write.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release()
	session := conn.Conn().PgConn()
	delete(session.CustomData(), warned)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer undo(ctx, tx)
	if err := do(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if confirmed(session) {
		*a, err = s.position(ctx, conn)
		return err
	}
	return errUnconfirmed
}

// confirmed tells whether no warning came since the transaction began.
func confirmed(session *pgconn.PgConn) bool { return session.CustomData()[warned] == nil }

// undo ends a transaction that is not committed.
func undo(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	_ = tx.Rollback(ctx) // after a commit there is nothing to roll back; a broken session ends with its transaction
}
