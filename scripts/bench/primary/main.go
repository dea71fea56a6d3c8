// Command primary changes the primary of a local cluster again and again while writers
// write, and prints how long no row was acknowledged, and whether acknowledged rows were
// lost. With -fault none it does switchovers; with -fault kill it kills the primary's
// server and does failovers. The exit code is 1 if a change failed or a row was lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
)

type options struct {
	bin, home, fault, durability string
	runs, writers, standbys      int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to measure")
	flag.StringVar(&o.fault, "fault", "none", "none: switchovers; kill: kill the primary, and failovers")
	flag.StringVar(&o.durability, "durability", "async", "async or quorum")
	flag.IntVar(&o.runs, "runs", 20, "number of changes")
	flag.IntVar(&o.writers, "writers", 4, "number of writers")
	flag.IntVar(&o.standbys, "standbys", 2, "number of standbys")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "primary:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.home, err = os.MkdirTemp("/var/tmp", "pgapp-primary-"); err != nil {
		return err
	}
	if err = os.Chmod(o.home, 0o711); err != nil { //nolint:gosec // the servers' user passes through
		return err
	}
	defer func() {
		clean := context.WithoutCancel(ctx)
		_, e1 := o.pgapp(clean, "down", "--volumes", "--yes")
		_, e2 := o.pgapp(clean, "shutdown")
		err = errors.Join(err, e1, e2, os.RemoveAll(o.home))
	}()
	if _, err = o.pgapp(ctx, "up", "--provider", "local", "--standbys", strconv.Itoa(o.standbys), "--durability", o.durability); err != nil {
		return err
	}
	return o.rounds(ctx)
}

// round is what one change showed.
type round struct {
	outage, command time.Duration
	acknowledged    int
	lost            int
}

func (o options) rounds(ctx context.Context) error {
	var all []round
	for i := range o.runs {
		r, err := o.round(ctx)
		if err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
		all = append(all, r)
		fmt.Printf("%3d  outage %6.0f ms  command %6.0f ms  acknowledged %6d  lost %d\n",
			i+1, ms(r.outage), ms(r.command), r.acknowledged, r.lost)
	}
	lost := 0
	for _, r := range all {
		lost += r.lost
	}
	slices.SortFunc(all, func(a, b round) int { return int(a.outage - b.outage) })
	fmt.Printf("fault %s, durability %s: outage median %.0f ms, worst %.0f ms, %d changes, %d acknowledged rows lost\n",
		o.fault, o.durability, ms(all[len(all)/2].outage), ms(all[len(all)-1].outage), len(all), lost)
	if lost > 0 {
		return errors.New("acknowledged rows were lost")
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rowsAround is how many rows the writers write before and after a change.
const rowsAround = 200

func (o options) round(ctx context.Context) (out round, err error) {
	cfg, s, err := o.look(ctx)
	if err != nil {
		return out, err
	}
	run, err := drill.Start(ctx, cfg)
	if err != nil {
		return out, err
	}
	defer run.Stop()
	if err := written(ctx, run, rowsAround); err != nil {
		return out, err
	}
	from, begun := run.Since(), time.Now()
	if o.fault == "kill" {
		if err := o.kill(s.Primary); err != nil {
			return out, err
		}
		_, err = o.pgapp(ctx, "failover", "--yes")
	} else {
		_, err = o.pgapp(ctx, "switchover")
	}
	if err != nil {
		return out, err
	}
	out.command = time.Since(begun)
	if err := written(ctx, run, run.Acknowledged()+rowsAround); err != nil {
		return out, err
	}
	to := run.Since()
	h := run.Stop()
	out.outage, out.acknowledged = h.Outage(from, to), len(h.Acknowledged())
	if two := h.TwoAtOnce(); len(two) > 0 {
		return out, fmt.Errorf("two members acknowledged rows: %s", two[0])
	}
	for _, m := range cfg.Members {
		lost, err := lostOn(ctx, cfg, h, m.Member)
		if err != nil {
			return out, err
		}
		out.lost = max(out.lost, lost)
	}
	return out, nil
}

// written waits until that many rows are acknowledged.
func written(ctx context.Context, run *drill.Run, rows int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return wait.Until(ctx, 5*time.Millisecond, func(context.Context) (bool, error) { return run.Acknowledged() >= rows, nil })
}

// lostOn counts the acknowledged rows that the member doesn't get. A member that can't
// be read is an error, not a loss.
func lostOn(ctx context.Context, cfg drill.Config, h drill.History, member string) (lost int, err error) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var unread error
	_ = wait.Until(limited, 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		rows, err := drill.Rows(ctx, cfg, member)
		if err != nil {
			if ctx.Err() == nil {
				unread = err
			}
			return false, nil
		}
		unread, lost = nil, len(h.Lost(rows))
		return lost == 0, nil
	}) // at the limit, the last look counts
	return lost, errors.Join(unread, ctx.Err())
}

// look asks pgapp for the members and how to reach them.
func (o options) look(ctx context.Context) (drill.Config, appliance.ClusterStatus, error) {
	var c appliance.Connection
	var s appliance.ClusterStatus
	text, err := o.pgapp(ctx, "url", "--role", "any", "--show-password", "-o", "json")
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return drill.Config{}, s, err
	}
	if text, err = o.pgapp(ctx, "ps", "-o", "json"); err == nil {
		err = json.Unmarshal(text, &s)
	}
	return drill.Config{Members: c.Hosts, Database: c.Database, User: c.User, Password: appliance.NewSecret(c.Password), Writers: o.writers}, s, err
}

// kill kills the member's postmaster; its children end by themselves.
func (o options) kill(member string) error {
	text, err := os.ReadFile(filepath.Join(o.home, "clusters", appliance.DefaultCluster, member, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return fmt.Errorf("reading postmaster.pid: %w", err)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// pgapp runs the program and returns what it prints.
func (o options) pgapp(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, o.bin, args...) //nolint:gosec // the program to measure
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+o.home, "PGAPP_LISTEN=127.0.0.1:0", "PGAPP_AUTOMATIC=off", "PGAPP_DURABILITY=async")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pgapp %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return out, nil
}
