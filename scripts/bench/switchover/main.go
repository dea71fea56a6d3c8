// Command switchover measures changes of primary of a local cluster under writers: how
// long no row is acknowledged in a switchover, and how long a failover by command takes
// from the fence of a killed primary to the first commit. It prints medians and worst
// cases, with the phases that the operation notes, beside the same done by hand with
// nothing but PostgreSQL. The exit code is 1 if a change failed or the check found
// something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"pgapp/appliance/drill"
	"pgapp/scripts/drive"
)

type options struct {
	bin                     string
	runs, writers, standbys int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to measure")
	flag.IntVar(&o.runs, "runs", 20, "number of changes of each kind")
	flag.IntVar(&o.writers, "writers", 4, "number of writers")
	flag.IntVar(&o.standbys, "standbys", 2, "number of standbys")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "switchover:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) error {
	t := newTable(os.Stdout)
	for _, durability := range []string{"async", "quorum"} {
		if err := o.measure(ctx, t, durability); err != nil {
			return err
		}
	}
	return nil
}

// measure measures a cluster of the durability.
func (o options) measure(ctx context.Context, t *table, durability string) (err error) {
	c, err := drive.Up(ctx, o.bin, "/var/tmp", "--standbys", strconv.Itoa(o.standbys), "--durability", durability)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	if durability == "async" {
		if err := o.rounds(ctx, t, "by hand", byHand(c, o.writers)); err != nil {
			return err
		}
	}
	if err := o.rounds(ctx, t, "switchover, "+durability, func(ctx context.Context) (sample, error) { return o.switchover(ctx, c) }); err != nil {
		return err
	}
	return o.rounds(ctx, t, "failover, "+durability, func(ctx context.Context) (sample, error) { return o.failover(ctx, c) })
}

// rounds measures one kind of change, and prints its line.
func (o options) rounds(ctx context.Context, t *table, what string, round func(context.Context) (sample, error)) error {
	var all []sample
	for i := range o.runs {
		s, err := round(ctx)
		if err != nil {
			return fmt.Errorf("%s, run %d: %w", what, i+1, err)
		}
		all = append(all, s)
	}
	t.line(what, all)
	return nil
}

// rowsAround is how many rows the writers write before and after a change.
const rowsAround = 200

// switchover moves the primary under writers.
func (o options) switchover(ctx context.Context, c *drive.Cluster) (sample, error) {
	return o.change(ctx, c, func(*drill.Run) error {
		_, err := c.Pgapp(ctx, "switchover")
		return err
	})
}

// failover kills the primary under writers and replaces it. Its outage begins with the
// fence.
func (o options) failover(ctx context.Context, c *drive.Cluster) (sample, error) {
	before, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var begun time.Time
	var run *drill.Run
	s, err := o.change(ctx, c, func(r *drill.Run) error {
		if err := c.Kill(before.Primary); err != nil {
			return err
		}
		run, begun = r, time.Now().Add(-r.Since())
		_, err := c.Pgapp(ctx, "failover", "--yes")
		return err
	})
	if err != nil {
		return nil, err
	}
	op, err := c.Last(ctx)
	if err != nil {
		return nil, err
	}
	first, ok := run.Stop().FirstSince(before.Timeline)
	if !ok || len(op.Steps) == 0 || op.Steps[0].StartedAt == nil {
		return nil, errors.New("the failover has no beginning, or nothing was acknowledged after it")
	}
	fence := op.Steps[0].StartedAt.Add(s["looking"])
	s["kill to commit"], s["outage"] = s["outage"], begun.Add(first.Told).Sub(fence)
	return s, nil
}

// change makes a change under writers, and checks the cluster after it.
func (o options) change(ctx context.Context, c *drive.Cluster, do func(*drill.Run) error) (sample, error) {
	at, err := c.Drill(ctx, o.writers)
	if err != nil {
		return nil, err
	}
	run, err := drill.Start(ctx, at.Config)
	if err != nil {
		return nil, err
	}
	defer run.Stop()
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return nil, err
	}
	from := run.Since()
	if err := do(run); err != nil {
		return nil, err
	}
	command := run.Since() - from
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return nil, err
	}
	to := run.Since()
	h := run.Stop()
	if err := drive.Sound(ctx, at, h); err != nil {
		return nil, err
	}
	op, err := c.Last(ctx)
	if err != nil {
		return nil, err
	}
	s := sample(drill.Phases(op))
	s["outage"], s["command"] = h.Outage(from, to), command
	return s, nil
}
