// Command soak kills the primary of a local cluster again and again under writers and
// replaces it by failover. Where the dead primary's directory can be read, no acknowledged
// row may be lost, although replication is asynchronous. In some rounds the directory can't
// be read, and the loss that pgapp reports has to be the loss that is measured. The exit
// code is 1 if a round shows anything else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"pgapp/appliance/drill"
	"pgapp/scripts/drive"
)

type options struct {
	bin, dir                    string
	rounds, unreadable, writers int
	load                        time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to try")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where the cluster's home is made")
	flag.IntVar(&o.rounds, "rounds", 50, "number of rounds in which the directory can be read")
	flag.IntVar(&o.unreadable, "unreadable", 5, "number of rounds in which it can't")
	flag.IntVar(&o.writers, "writers", 4, "number of writers")
	flag.DurationVar(&o.load, "load", 0, "instead keep the machine busy for that long beside a sound cluster: no failover may come of it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	play := o.run
	if o.load > 0 {
		play = o.loaded
	}
	if err := play(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// withoutVacuum keeps the server from commits of its own, so that each commit is a row.
const withoutVacuum = "parameters:\n  autovacuum: \"off\"\n"

func (o options) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "pgapp-soak-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(spec, []byte(withoutVacuum), 0o600); err != nil {
		return err
	}
	c, err := drive.Up(ctx, o.bin, o.dir, "-f", spec, "--standbys", "2", "--durability", "async", "--dataset", "none")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	if err := o.kills(ctx, c); err != nil {
		return err
	}
	for i := range o.unreadable {
		if err := o.unread(ctx, c); err != nil {
			return fmt.Errorf("unreadable directory, round %d: %w", i+1, err)
		}
	}
	return nil
}

// kills plays the rounds in which the dead primary's directory can be read.
func (o options) kills(ctx context.Context, c *drive.Cluster) error {
	var all []time.Duration
	for i := range o.rounds {
		took, err := o.kill(ctx, c, i+1)
		if err != nil {
			return fmt.Errorf("killed primary, round %d: %w", i+1, err)
		}
		all = append(all, took)
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	fmt.Printf("killed primary: %d rounds, no acknowledged row lost; kill to first commit: median %d ms, worst %d ms\n",
		len(all), all[len(all)/2].Milliseconds(), all[len(all)-1].Milliseconds())
	return nil
}

// rowsAround is how many rows the writers write before and after a kill.
const rowsAround = 200

// kill kills the primary under writers, and returns the time from the kill to the first
// commit on the new one.
func (o options) kill(ctx context.Context, c *drive.Cluster, number int) (time.Duration, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	at, run, err := o.writing(ctx, c)
	if err != nil {
		return 0, err
	}
	defer run.Stop()
	killed := run.Since()
	if err := c.Kill(s.Primary); err != nil {
		return 0, err
	}
	if _, err := c.Pgapp(ctx, "failover", "--yes"); err != nil {
		return 0, err
	}
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return 0, err
	}
	h := run.Stop()
	if err := drive.Sound(ctx, at, h); err != nil {
		op, _ := c.Last(ctx) // what it says helps to understand the findings
		return 0, fmt.Errorf("%w\nthe last operation: %s, note %q, steps %+v", err, op.Kind, op.Note, op.Steps)
	}
	first, ok := h.FirstSince(s.Timeline)
	if !ok {
		return 0, errors.New("no row was acknowledged on a later timeline")
	}
	op, err := c.Last(ctx)
	if err != nil || len(op.Steps) == 0 {
		return 0, errors.Join(err, errors.New("the failover has no steps"))
	}
	fmt.Printf("round %d: %s was killed, first commit on %s after %d ms (%s), %d rows acknowledged and kept\n",
		number, s.Primary, first.Member, (first.Told - killed).Milliseconds(), op.Steps[0].Progress.Detail, len(h.Acknowledged()))
	return first.Told - killed, nil
}

// writing starts writers, and returns when they have written.
func (o options) writing(ctx context.Context, c *drive.Cluster) (drill.Cluster, *drill.Run, error) {
	at, err := c.Drill(ctx, o.writers)
	if err != nil {
		return at, nil, err
	}
	run, err := drill.Start(ctx, at.Config)
	if err != nil {
		return at, nil, err
	}
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		run.Stop()
		return at, nil, err
	}
	return at, run, nil
}
