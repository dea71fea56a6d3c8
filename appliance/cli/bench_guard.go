package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgapp/appliance"
	"pgapp/appliance/program"
	"pgapp/appliance/wait"
)

// guardCommand is the hidden command that puts a cluster back after its suite was killed.
const guardCommand = "guard"

// guardian is the process that waits for a suite's end.
type guardian struct {
	cmd *exec.Cmd
	// alive is open as long as this process lives, and never in a child of it.
	alive *os.File
}

// guarded starts the guardian of a bench: a process in a session of its own, which no
// Ctrl-C reaches. It reads a pipe to its end, which comes when this process has ended,
// however that was.
func (h benchHands) guarded(ctx context.Context, id string) (*guardian, error) {
	self, err := program.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the guardian of the bench: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "bench", guardCommand, id, "--home", h.home, "--cluster", h.cluster, "--quiet") // #nosec G204 -- our own program
	cmd.Dir, cmd.Stdin = "/", r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = r.Close()
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("starting the guardian of the bench: %w", err)
	}
	return &guardian{cmd, w}, nil
}

// dismiss ends the guardian by a word, which a process that is killed doesn't say. What the
// suite could not put back, or could not record, the guardian could not either: it would
// wait for the benches' lock, which the suite holds while it waits for the guardian.
func (g *guardian) dismiss() {
	g.bid()
	_ = g.cmd.Wait() // it says nothing, and what is left the next bench command does
}

// bid says the word.
func (g *guardian) bid() {
	_, _ = g.alive.WriteString("dismissed") // a guardian that was killed hears nothing
	_ = g.alive.Close()
}

func (a benchCommands) benchGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use: guardCommand + " ID", Short: "Put the cluster back when the bench has ended", Hidden: true, Args: benchIDs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.benchGuard(cmd.Context(), args[0]) },
	}
}

// benchGuard waits for the end of the bench, and puts the cluster back if it was killed.
func (a benchCommands) benchGuard(ctx context.Context, id string) error {
	heard, err := io.Copy(io.Discard, a.In)
	if err != nil {
		return fmt.Errorf("waiting for the end of bench %s: %w", id, err)
	}
	if heard > 0 { // it has ended by itself
		return nil
	}
	b, err := a.benches().Load(id)
	if err != nil || !b.PutBackLeft() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, putBackLimit)
	defer cancel()
	var release func()
	err = wait.Until(ctx, pollEvery, func(context.Context) (bool, error) {
		release, err = a.benches().Claim("")
		if appliance.IsProblem(err, appliance.ErrConflict) {
			return false, nil // another bench command puts it back, or the kernel has not let go yet
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	defer release()
	return a.putBackBench(ctx, id, appliance.PutBackByGuardian)
}

// putBackBench puts the cluster of an interrupted bench back, and notes that in its
// record. The caller holds the benches' lock.
func (a benchCommands) putBackBench(ctx context.Context, id, by string) error {
	records := a.benches()
	b, err := records.Load(id)
	if err != nil || !b.PutBackLeft() {
		return err
	}
	if b.State == appliance.BenchRunning { // its process has ended, or nobody could have the lock
		b.State = appliance.BenchInterrupted
	}
	b.Progress.Doing = "putting the cluster back"
	if err := records.Save(b); err != nil {
		return err
	}
	own := *a.app
	own.cluster = b.Cluster
	of := drillCommands{&own}
	c, err := of.client(ctx)
	if err == nil {
		err = benchHands{of, c}.putBack(ctx, *b.Before)
	}
	b.Progress.Doing = ""
	if err != nil {
		b.Notes = append(b.Notes, fmt.Sprintf("the %s could not put the cluster back: %s", by, clean(err.Error())))
		return errors.Join(fmt.Errorf("putting cluster %q back as it was before bench %s: %w", b.Cluster, id, err), records.Save(b))
	}
	b.Before.PutBack = &appliance.BenchPutBack{At: time.Now().UTC(), By: by}
	return records.Save(b)
}

// putBackLeft puts back what killed suites have left, where no bench runs. A suite's
// guardian does that, unless it was killed as well.
func (a benchCommands) putBackLeft(ctx context.Context) error {
	all, err := a.benches().List()
	if err != nil {
		return nil // the command itself says so
	}
	var left []appliance.Bench
	for _, b := range all {
		if b.PutBackLeft() {
			left = append(left, b)
		}
	}
	if len(left) == 0 {
		return nil
	}
	release, err := a.benches().Claim("")
	if appliance.IsProblem(err, appliance.ErrConflict) {
		return nil // a bench, or a guardian at work
	}
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	for _, b := range left {
		a.note("putting cluster %s back as it was before bench %s", b.Cluster, b.ID)
		errs = append(errs, a.putBackBench(ctx, b.ID, appliance.PutBackByCommand))
	}
	return errors.Join(errs...)
}

// prepareBench is what precedes each bench command. Those that only read say what could not
// be put back, and go on.
func (a benchCommands) prepareBench(cmd *cobra.Command, args []string) error {
	if err := a.prepare(cmd, args); err != nil || cmd.Name() == guardCommand {
		return err
	}
	err := a.putBackLeft(cmd.Context())
	if changes := cmd.Name() == "run" || cmd.Name() == "suite"; err != nil && !changes {
		a.note("%s", clean(err.Error()))
		return nil
	}
	return err
}
