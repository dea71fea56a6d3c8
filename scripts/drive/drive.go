// Package drive brings up a cluster of local processes in a home of its own, and drives
// it as a user does, for what measures and tries the program.
package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
)

// Cluster is a cluster in a home of its own.
type Cluster struct{ bin, home string }

// Up makes a home below dir, and brings up a cluster in it. Members fail over by command
// only.
func Up(ctx context.Context, bin, dir string, args ...string) (*Cluster, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin}
	if c.home, err = os.MkdirTemp(dir, "pgapp-drive-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.home, 0o711); err != nil { //nolint:gosec // the servers' user passes through
		return nil, errors.Join(err, os.RemoveAll(c.home))
	}
	if _, err := c.Pgapp(ctx, append([]string{"up", "--provider", "local"}, args...)...); err != nil {
		return nil, errors.Join(err, c.Down(ctx))
	}
	return c, nil
}

// Down removes the cluster and its home, also when ctx has ended.
func (c *Cluster) Down(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	_, e1 := c.Pgapp(ctx, "down", "--volumes", "--yes")
	_, e2 := c.Pgapp(ctx, "shutdown")
	return errors.Join(e1, e2, os.RemoveAll(c.home))
}

// Pgapp runs the program and returns what it prints. A cluster that is degraded is no
// error.
func (c *Cluster) Pgapp(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.bin, args...) //nolint:gosec // the program to drive
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+c.home, "PGAPP_LISTEN=127.0.0.1:0", "PGAPP_AUTOMATIC=off")
	cmd.Dir = "/"
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != appliance.ExitDegraded {
		return nil, fmt.Errorf("pgapp %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return out, nil
}

func (c *Cluster) ask(ctx context.Context, into any, args ...string) error {
	text, err := c.Pgapp(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// Status returns what pgapp has on record and observes.
func (c *Cluster) Status(ctx context.Context) (s appliance.ClusterStatus, err error) {
	return s, c.ask(ctx, &s, "ps")
}

// Operations returns the cluster's operations, newest first.
func (c *Cluster) Operations(ctx context.Context) (all []appliance.Operation, err error) {
	return all, c.ask(ctx, &all, "ops")
}

// Last returns the operation that began last.
func (c *Cluster) Last(ctx context.Context) (appliance.Operation, error) {
	all, err := c.Operations(ctx)
	if err != nil || len(all) == 0 {
		return appliance.Operation{}, errors.Join(err, errors.New("there is no operation"))
	}
	return all[0], nil
}

// Drill returns how writers and the check reach the cluster.
func (c *Cluster) Drill(ctx context.Context, writers int) (drill.Cluster, error) {
	var at appliance.Connection
	err := c.ask(ctx, &at, "url", "--role", "any", "--show-password")
	return drill.Cluster{Status: c.Status, Config: drill.Config{
		Members: at.Hosts, Database: at.Database, User: at.User, Password: appliance.NewSecret(at.Password), Writers: writers,
	}}, err
}

// Home is the home's directory.
func (c *Cluster) Home() string { return c.home }

// DataDir is the member's data directory.
func (c *Cluster) DataDir(member string) string {
	return filepath.Join(c.home, "clusters", appliance.DefaultCluster, member, "data")
}

// Kill kills the member's first process; its children end by themselves.
func (c *Cluster) Kill(member string) error { return c.Strike(member, drill.FaultKill) }

// Strike strikes the member's server.
func (c *Cluster) Strike(member string, f drill.Fault) error {
	s, err := drill.FindServer(filepath.Join(c.DataDir(member), "postmaster.pid"))
	if err == nil {
		_, err = s.Strike(f)
	}
	return err
}

// Signal sends the signal to the processes of [Cluster.Titled], and returns how many got
// it.
func (c *Cluster) Signal(sig syscall.Signal, title string) (int, error) {
	pids, err := c.Titled(title)
	n := 0
	for _, pid := range pids {
		if syscall.Kill(pid, sig) == nil {
			n++
		}
	}
	return n, err
}

// Titled returns the processes of the cluster's servers whose title contains the text.
func (c *Cluster) Titled(text string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		title, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.HasPrefix(cwd, c.home+"/") && strings.Contains(string(title), text) {
			out = append(out, pid)
		}
	}
	return out, err
}

// Until waits for what has to become true.
func Until(ctx context.Context, what string, holds func(context.Context) bool) error {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := wait.Until(limited, 5*time.Millisecond, func(ctx context.Context) (bool, error) { return holds(ctx), nil }); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// Written waits until the writers have got that many more acknowledged rows.
func Written(ctx context.Context, run *drill.Run, rows int) error {
	want := run.Acknowledged() + rows
	return Until(ctx, "writers write", func(context.Context) bool { return run.Acknowledged() >= want })
}

// Sound is an error with what the check finds, if it finds something.
func Sound(ctx context.Context, c drill.Cluster, h drill.History) error {
	var all []error
	for _, f := range drill.Check(ctx, c, h) {
		all = append(all, errors.New(f.String()))
	}
	return errors.Join(all...)
}
