package rental

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
)

var (
	errUnreadable = errors.New("it can't be read")
	// errUnconfirmed is a commit whose standby did not confirm it.
	errUnconfirmed = errors.New("the server gave up waiting for a standby")
	// errOldPrimary is a primary of an older timeline than the client has written on.
	errOldPrimary = errors.New("the member is a primary that has been replaced")
	// errNoPartition is a payment for which a partition had to be made.
	errNoPartition = errors.New("no partition of the payments holds this month")
)

func unwrapOnce(err error) error { return errors.Unwrap(err) }

func shuffle[T any](list []T) {
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] }) // #nosec G404 -- no secret
}

// again calls do until it succeeds, fails for good, or the request's time is over. The
// pause between two calls grows.
func (s *Site) again(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		limited, done := context.WithTimeout(ctx, attemptLimit)
		err := do(limited)
		done()
		if err == nil {
			return nil
		}
		if !repeatable(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		s.counts.retries.Add(1)
		if !rest(ctx, pause) {
			return appliance.NewProblem(appliance.ErrTimeout, "%s: no member answered in time: %w", what, err).
				WithHint("whether it is done is open: repeat it with the same request id")
		}
	}
}

// rest waits, and returns false when ctx ends first.
func rest(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeatable tells whether another attempt may succeed: the member ends, starts or is no
// primary any more, the connection broke, or transactions were in each other's way.
func repeatable(err error) bool {
	var problem *appliance.Problem
	var scan pgx.ScanArgError
	if errors.As(err, &problem) || errors.As(err, &scan) || errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	switch pg.Code {
	case "40001", "40P01", // serialization failure, deadlock
		"25006", // read-only transaction: the member became a standby
		"28000", // no entry of pg_hba.conf: the member is closed for a change
		"55000", // recovery is in progress, or has just ended
		"55P03": // lock not available
		return true
	}
	return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "57")
}

// sqlState returns the SQLSTATE of an error, or "" if the server didn't send it.
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
