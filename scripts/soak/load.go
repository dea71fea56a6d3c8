package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/scripts/drive"
)

const (
	// loops is the number of busy loops a processor.
	loops = 4
	// chunk is what the disk's writer writes before each sync, and hoard the memory that is
	// held and touched.
	chunk, hoard = 64 << 20, 512 << 20
	// longestDoubt is how long the watch may hold something against a sound member.
	longestDoubt = 3 * time.Second
	// lookEvery is the pause between two looks at what the watch thinks.
	lookEvery = 250 * time.Millisecond
	// longestSilence is how long no look may succeed. A daemon that tells nothing shows
	// nothing.
	longestSilence = 30 * time.Second
	// tellEvery is the interval of the lines about how it goes.
	tellEvery = time.Minute
)

// loaded keeps the machine busy beside a cluster that is sound for that long: busy loops,
// memory, a disk that is written at full speed, and writers. There must be no failover,
// and no suspicion that lasts.
func (o options) loaded(ctx context.Context) (err error) {
	c, err := drive.Up(ctx, o.bin, o.dir, "--standbys", "2", "--durability", "quorum", "--automatic", "on", "--dataset", "none")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	at, err := c.Drill(ctx, o.writers)
	if err != nil {
		return err
	}
	run, err := drill.Start(ctx, at.Config)
	if err != nil {
		return err
	}
	defer run.Stop()
	busy, cancel := context.WithTimeout(ctx, o.load)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for range loops * runtime.NumCPU() {
		work.Go(func() { spin(busy) })
	}
	work.Go(func() { touch(busy) })
	var disk error
	work.Go(func() { disk = fill(busy, filepath.Join(c.Home(), "load")) })
	seen, err := suspicion(busy, c)
	cancel()
	work.Wait()
	h := run.Stop()
	if err := errors.Join(err, disk, ctx.Err(), drive.Sound(ctx, at, h), unbidden(ctx, c)); err != nil {
		return err
	}
	fmt.Printf("%s under load: no failover, %s, %d rows acknowledged, longest gap %d ms\n",
		o.load, seen, len(h.Acknowledged()), h.Outage(0, run.Since()).Milliseconds())
	return nil
}

// unbidden is an error if the watch has begun an operation by itself.
func unbidden(ctx context.Context, c *drive.Cluster) error {
	all, err := c.Operations(ctx)
	errs := []error{err}
	for _, o := range all {
		if o.Params.Reason != "" {
			errs = append(errs, fmt.Errorf("a %s that nobody needed: %s", o.Kind, o.Params.Reason))
		}
	}
	return errors.Join(errs...)
}

// spin is a busy loop of a process of its own.
func spin(ctx context.Context) {
	cmd := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes at the end of the thread
	defer runtime.UnlockOSThread()
	_ = cmd.Run() // it ends with ctx
}

// touch holds memory and writes all of its pages again and again.
func touch(ctx context.Context) {
	held := make([]byte, hoard)
	for n := byte(1); ctx.Err() == nil; n++ {
		for i := 0; i < len(held) && ctx.Err() == nil; i += os.Getpagesize() {
			held[i] = n
		}
	}
}

// fill writes and syncs a file again and again.
func fill(ctx context.Context, name string) (err error) {
	f, err := os.Create(name) //nolint:gosec // in the cluster's home
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	text := make([]byte, 1<<20)
	for ctx.Err() == nil {
		for at := int64(0); at < chunk; at += int64(len(text)) {
			if _, err := f.WriteAt(text, at); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// doubts are what a run of looks has seen.
type doubts struct {
	looks   int
	longest time.Duration
	since   map[string]time.Time
}

func (d *doubts) String() string {
	return fmt.Sprintf("%d looks, longest suspicion %d ms", d.looks, d.longest.Milliseconds())
}

// suspicion looks at the cluster until ctx ends, and returns what it has seen. A change of
// primary, a long suspicion and a daemon that doesn't answer are errors.
func suspicion(ctx context.Context, c *drive.Cluster) (*doubts, error) {
	d := &doubts{}
	tick, tell := time.NewTicker(lookEvery), time.NewTicker(tellEvery)
	defer tick.Stop()
	defer tell.Stop()
	begun := time.Now()
	last := begun
	for {
		select {
		case <-ctx.Done():
			return d, nil
		case <-tell.C:
			fmt.Printf("%s under load so far: %s\n", time.Since(begun).Round(time.Second), d)
			continue
		case <-tick.C:
		}
		s, err := c.Status(ctx)
		now := time.Now()
		switch {
		case err == nil:
			last = now
			if err := d.see(s, now); err != nil {
				return d, err
			}
		case ctx.Err() == nil && now.Sub(last) > longestSilence: // a slow daemon is no failover
			return d, fmt.Errorf("no look for %s: %w", now.Sub(last).Round(time.Second), err)
		}
	}
}

// see adds a look.
func (d *doubts) see(s appliance.ClusterStatus, now time.Time) error {
	d.looks++
	if len(s.Promotions) > 0 || s.Change != nil {
		return fmt.Errorf("a failover that nobody needed: %+v, %+v", s.Promotions, s.Change)
	}
	doubted := map[string]time.Time{}
	for _, one := range s.Doubts {
		name := one.Deed + " " + one.Member
		doubted[name] = now
		if was, ok := d.since[name]; ok {
			doubted[name] = was
		}
		lasts := now.Sub(doubted[name])
		d.longest = max(d.longest, lasts)
		if lasts >= longestDoubt {
			return fmt.Errorf("a suspicion that lasts: %+v", one)
		}
	}
	d.since = doubted
	return nil
}
