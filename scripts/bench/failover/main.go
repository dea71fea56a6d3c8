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
	"pgapp/scripts/drive"
)

type options struct {
	bin, faults   string
	runs, writers int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to measure")
	flag.StringVar(&o.faults, "faults", "kill,kill-member,halt", "kill the first process, kill all processes, or stop the first process")
	flag.IntVar(&o.runs, "runs", 20, "number of failovers of each kind")
	flag.IntVar(&o.writers, "writers", 4, "number of writers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) error {
	fmt.Printf("%-22s %4s %16s %16s\n%-22s %4s %8s %7s %8s %7s\n", "", "", "fault to commit", "all stream again", "ms", "runs", "median", "worst", "median", "worst")
	for _, fault := range strings.Split(o.faults, ",") {
		for _, durability := range []string{"async", "quorum"} {
			var commit, whole []time.Duration
			for i := range o.runs {
				c, w, err := o.once(ctx, fault, durability)
				if err != nil {
					return fmt.Errorf("%s, %s, run %d: %w", fault, durability, i+1, err)
				}
				commit, whole = append(commit, c), append(whole, w)
			}
			slices.Sort(commit)
			slices.Sort(whole)
			fmt.Printf("%-22s %4d %8d %7d %8d %7d\n", fault+", "+durability, o.runs, commit[len(commit)/2].Milliseconds(), commit[len(commit)-1].Milliseconds(),
				whole[len(whole)/2].Milliseconds(), whole[len(whole)-1].Milliseconds())
		}
	}
	return nil
}

// rowsBefore is how many rows the writers write before the fault.
const rowsBefore = 200

// once brings up a cluster, hits its primary, and waits until all members stream again.
func (o options) once(ctx context.Context, fault, durability string) (commit, whole time.Duration, err error) {
	c, err := drive.Up(ctx, o.bin, "/var/tmp", "--standbys", "2", "--automatic", "on", "--durability", durability)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	before, err := c.Status(ctx)
	if err != nil {
		return 0, 0, err
	}
	at, err := c.Drill(ctx, o.writers)
	if err != nil {
		return 0, 0, err
	}
	run, err := drill.Start(ctx, at.Config)
	if err != nil {
		return 0, 0, err
	}
	defer run.Stop()
	if err := drive.Written(ctx, run, rowsBefore); err != nil {
		return 0, 0, err
	}
	from := run.Since()
	if err := hit(c, fault, before.Primary); err != nil {
		return 0, 0, err
	}
	if err := drive.Until(ctx, "another primary leads and all others stream", func(ctx context.Context) bool { return healed(ctx, c, before.Primary) }); err != nil {
		return 0, 0, err
	}
	whole = run.Since() - from
	if err := drive.Written(ctx, run, rowsBefore); err != nil {
		return 0, 0, err
	}
	h := run.Stop()
	first, ok := h.FirstSince(before.Timeline)
	if !ok {
		return 0, 0, errors.New("nothing was acknowledged after the failover")
	}
	return first.Told - from, whole, drive.Sound(ctx, at, h)
}

// hit hits the member with the fault.
func hit(c *drive.Cluster, fault, member string) error {
	var n int
	var err error
	switch fault {
	case "kill":
		return c.Kill(member)
	case "kill-member":
		n, err = c.Signal(syscall.SIGKILL, member)
	case "halt":
		n, err = c.Signal(syscall.SIGSTOP, member+"/data")
	default:
		return fmt.Errorf("unknown fault %q", fault)
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("no process of %s was hit", member)
	}
	return err
}

// healed tells whether another member than old is the primary and all others stream.
func healed(ctx context.Context, c *drive.Cluster, old string) bool {
	s, err := c.Status(ctx)
	return err == nil && s.Primary != old && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
		return m.Name == s.Primary && m.State != appliance.StateRunning || m.Name != s.Primary && m.State != appliance.StateStreaming
	})
}
