package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/scripts/drive"
)

// unread kills a primary that alone has the last acknowledged rows, and takes its WAL
// away until the new primary is on record. Then the WAL is back, so that the rejoin can
// count what it drops.
func (o options) unread(ctx context.Context, c *drive.Cluster) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	at, h, err := o.ahead(ctx, c, s.Primary)
	if err != nil {
		return err
	}
	wal := filepath.Join(c.DataDir(s.Primary), "pg_wal")
	away := filepath.Join(filepath.Dir(c.DataDir(s.Primary)), "pg_wal.away")
	if err := os.Rename(wal, away); err != nil {
		return err
	}
	// Recovery that stands still holds up the promotion.
	if n, err := c.Signal(syscall.SIGSTOP, ": startup"); err != nil || n != len(s.Members)-1 {
		return errors.Join(err, fmt.Errorf("%d standbys are in recovery", n))
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Pgapp(ctx, "failover", "--yes")
		failed <- err
	}()
	err = drive.Until(ctx, "a new primary is on record", func(ctx context.Context) bool {
		now, err := c.Status(ctx)
		return err == nil && now.Change != nil && now.Change.Phase == appliance.ChangePromoting
	})
	back := os.Rename(away, wal) // before the promotion goes on, and the rejoin after it
	_, thawed := c.Signal(syscall.SIGCONT, ": startup")
	if err := errors.Join(err, back, thawed, <-failed); err != nil {
		return err
	}
	return o.reported(ctx, c, at, h, s.Primary)
}

// ahead has writers whose last rows no standby gets, and kills the primary.
func (o options) ahead(ctx context.Context, c *drive.Cluster, primary string) (at drill.Cluster, h drill.History, err error) {
	at, run, err := o.writing(ctx, c)
	if err != nil {
		return at, h, err
	}
	defer run.Stop()
	const receivers = ": walreceiver"
	n, err := c.Signal(syscall.SIGSTOP, receivers)
	if err != nil || n != len(at.Members)-1 {
		return at, h, errors.Join(err, fmt.Errorf("%d receivers run", n))
	}
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return at, h, err
	}
	h = run.Stop()
	before, err := c.Titled(": startup")
	if err != nil {
		return at, h, err
	}
	if err := c.Kill(primary); err != nil {
		return at, h, err
	}
	// What the connections still hold goes with the receivers. The standbys' servers
	// start again by themselves.
	if _, err := c.Signal(syscall.SIGKILL, receivers); err != nil {
		return at, h, err
	}
	return at, h, drive.Until(ctx, "the standbys answer again", func(ctx context.Context) bool {
		now, err := c.Titled(": startup")
		if err != nil || len(now) != len(before) || slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) }) {
			return false
		}
		for _, m := range at.Members {
			if _, err := drill.Rows(ctx, at.Config, m.Member); err != nil && m.Member != primary {
				return false
			}
		}
		return true
	})
}

// reported compares what pgapp says of the loss with the rows that the new primary lacks.
// What the new primary has, all others have too.
func (o options) reported(ctx context.Context, c *drive.Cluster, at drill.Cluster, h drill.History, old string) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	rows, err := drill.Rows(ctx, at.Config, s.Primary)
	if err != nil {
		return err
	}
	lost := h.Lost(rows)
	kept := drill.History{Writes: slices.DeleteFunc(slices.Clone(h.Writes), func(w drill.Write) bool { return slices.Contains(lost, w.Row) })}
	if err := drive.Sound(ctx, at, kept); err != nil {
		return err
	}
	op, err := c.Last(ctx)
	if err != nil {
		return err
	}
	if want := "the WAL of " + old + " could not be read"; !strings.Contains(op.Note, want) {
		return fmt.Errorf("the failover's note is %q, and not that %s", op.Note, want)
	}
	i := slices.IndexFunc(op.Discarded, func(d appliance.Discarded) bool { return d.Member == old })
	if i < 0 || op.Discarded[i].Unknown != "" || op.Discarded[i].Commits != len(lost) || len(lost) == 0 {
		return fmt.Errorf("%d acknowledged rows are lost, and pgapp reports %+v", len(lost), op.Discarded)
	}
	fmt.Printf("the WAL of %s could not be read: %d of %d acknowledged rows are lost, and pgapp reports %d commits in %d bytes\n",
		old, len(lost), len(h.Acknowledged()), op.Discarded[i].Commits, op.Discarded[i].Bytes)
	return nil
}
