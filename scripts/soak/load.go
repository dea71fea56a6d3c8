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
	longest, err := suspicion(busy, c)
	cancel()
	work.Wait()
	h := run.Stop()
	if err := errors.Join(err, disk, ctx.Err(), drive.Sound(ctx, at, h)); err != nil {
		return err
	}
	fmt.Printf("%s under load: no failover, longest suspicion %d ms, %d rows acknowledged, longest gap %d ms\n",
		o.load, longest.Milliseconds(), len(h.Acknowledged()), h.Outage(0, run.Since()).Milliseconds())
	return nil
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
func fill(ctx context.Context, name string) error {
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

// suspicion looks at the cluster until ctx ends, and returns how long the watch suspected
// a member at most. A change of primary and a long suspicion are errors.
func suspicion(ctx context.Context, c *drive.Cluster) (longest time.Duration, err error) {
	since := map[string]time.Time{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return longest, nil
		case <-tick.C:
		}
		s, err := c.Status(ctx)
		now := time.Now()
		if err != nil {
			continue // it ended with ctx, or the daemon is slow, which is no failover
		}
		if len(s.Promotions) > 0 || s.Change != nil {
			return longest, fmt.Errorf("a failover that nobody needed: %+v, %+v", s.Promotions, s.Change)
		}
		doubted := map[string]time.Time{}
		for _, d := range s.Doubts {
			name := d.Deed + " " + d.Member
			doubted[name] = now
			if was, ok := since[name]; ok {
				doubted[name] = was
			}
			longest = max(longest, now.Sub(doubted[name]))
			if now.Sub(doubted[name]) >= longestDoubt {
				return longest, fmt.Errorf("a suspicion that lasts: %+v", d)
			}
		}
		since = doubted
	}
}
