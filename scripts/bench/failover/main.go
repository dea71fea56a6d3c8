// Command failover measures automatic failovers of a local cluster under writers that
// know all members: how long it takes from a fault of the primary to the next
// acknowledged row, and until all members stream again without a person. Each run has a
// cluster of its own, since pgapp makes only a few failovers in an hour by itself. The
// exit code is 1 if a run failed or the check found something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
	"pgapp/scripts/drive"
)

type options struct {
	bin, faults   string
	runs, writers int
	pause         time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to measure")
	flag.StringVar(&o.faults, "faults", "kill,kill-member,halt,freeze", "faults, as pgapp drill names them")
	flag.IntVar(&o.runs, "runs", 20, "number of failovers of each kind")
	flag.IntVar(&o.writers, "writers", 4, "number of writers")
	flag.DurationVar(&o.pause, "pause", 0, "a writer's pause between two rows; without one the writers fill the processors")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

// sample is what one failover took, by name.
type sample map[string]time.Duration

// rows are what a sample has, in the order of the columns.
func rows() []string { return append([]string{"commit", "whole"}, drill.PhaseNames()...) }

func (o options) run(ctx context.Context) error {
	fmt.Println("medians/worst in ms; commit: fault to the next acknowledged row; whole: until all stream again")
	for _, fault := range strings.Split(o.faults, ",") {
		for _, durability := range []string{"async", "quorum"} {
			var all []sample
			for i := range o.runs {
				s, err := o.once(ctx, fault, durability)
				if err != nil {
					return fmt.Errorf("%s, %s, run %d: %w", fault, durability, i+1, err)
				}
				all = append(all, s)
			}
			fmt.Printf("%-20s %2d runs:%s\n", fault+", "+durability, o.runs, columns(all))
		}
	}
	return nil
}

// columns are the medians and the worst of the samples.
func columns(all []sample) string {
	var b strings.Builder
	for _, name := range rows() {
		var parts []time.Duration
		for _, s := range all {
			if took, ok := s[name]; ok {
				parts = append(parts, took)
			}
		}
		if len(parts) > 0 {
			slices.Sort(parts)
			fmt.Fprintf(&b, " %s %d/%d", name, parts[len(parts)/2].Milliseconds(), parts[len(parts)-1].Milliseconds())
		}
	}
	return b.String()
}

// askPause is the pause between two questions whether the cluster is whole: each starts a
// command, and without a pause they take a processor from what is measured.
const askPause = 50 * time.Millisecond

// rowsBefore is how many rows the writers write before the fault.
const rowsBefore = 200

// once brings up a cluster, hits its primary, and waits until all members stream again.
func (o options) once(ctx context.Context, fault, durability string) (s sample, err error) {
	c, err := drive.Up(ctx, o.bin, "/var/tmp", "--standbys", "2", "--automatic", "on", "--durability", durability)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	before, err := c.Status(ctx)
	if err != nil {
		return s, err
	}
	at, err := c.Drill(ctx, o.writers)
	if err != nil {
		return s, err
	}
	at.Pause = o.pause
	run, err := drill.Start(ctx, at.Config)
	if err != nil {
		return s, err
	}
	defer run.Stop()
	if err := drive.Written(ctx, run, rowsBefore); err != nil {
		return s, err
	}
	from := run.Since()
	begun := time.Now()
	if err := c.Strike(before.Primary, drill.Fault(fault)); err != nil {
		return s, err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// Each writer may be told of a row that the old primary has written. To ask before there is
	// one of another would take the processors from what is measured.
	if err := drive.Written(limited, run, o.writers+1); err != nil {
		return s, err
	}
	err = wait.Until(limited, askPause, func(ctx context.Context) (bool, error) { return healed(ctx, c, before.Primary), nil })
	if err != nil {
		return s, fmt.Errorf("waiting until another primary leads and all others stream: %w", err)
	}
	whole := run.Since() - from
	if err := drive.Written(ctx, run, rowsBefore); err != nil {
		return s, err
	}
	h := run.Stop()
	first, ok := h.FirstSince(before.Timeline)
	if !ok {
		return s, errors.New("nothing was acknowledged after the failover")
	}
	s, err = phases(ctx, c, begun)
	if err != nil {
		return s, err
	}
	s["commit"], s["whole"] = first.Told-from, whole
	return s, drive.Sound(ctx, at, h)
}

// phases are those of the failover that began after the fault.
func phases(ctx context.Context, c *drive.Cluster, fault time.Time) (sample, error) {
	all, err := c.Operations(ctx)
	for _, o := range all {
		if o.Kind == appliance.OpFailover && o.CreatedAt.After(fault) {
			s := sample(drill.Phases(o))
			s["detecting"] = o.CreatedAt.Sub(fault)
			return s, nil
		}
	}
	return nil, errors.Join(err, errors.New("there was no failover"))
}

// healed tells whether another member than old is the primary and all others stream.
func healed(ctx context.Context, c *drive.Cluster, old string) bool {
	s, err := c.Status(ctx)
	return err == nil && s.Primary != old && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
		return m.Name == s.Primary && m.State != appliance.StateRunning || m.Name != s.Primary && m.State != appliance.StateStreaming
	})
}
