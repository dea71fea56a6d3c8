package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// try makes the home, interrupts the operation, and has the new program take
// over. An operation that was too fast is tried again on a new home.
func (h *home) try(ctx context.Context, c takeover) error {
	top := h.dir
	for i := range 5 {
		h.dir = fmt.Sprintf("%s-%d", top, i)
		err := h.once(ctx, c)
		if err == nil || errors.Is(err, errMissed) {
			err = errors.Join(err, h.clear(ctx))
		} else { // the home stays for inspection
			_, _ = h.run(ctx, h.new, "down", "--yes", "-q")
			_, _ = h.run(ctx, h.new, "shutdown", "-q")
		}
		if !errors.Is(err, errMissed) {
			return err
		}
	}
	return errMissed
}

func (h *home) once(ctx context.Context, c takeover) error {
	if c.name != "up" && c.name != "up-half" {
		if err := h.prepare(ctx, c); err != nil {
			return err
		}
	}
	before, err := h.servers()
	if err != nil {
		return err
	}
	interrupted, killed, err := h.interrupt(ctx, c)
	if err != nil {
		return err
	}
	if _, err := h.run(ctx, h.new, "info"); err != nil { // starts the new daemon
		return err
	}
	if err := h.ended(ctx, c, interrupted, killed); err != nil {
		return err
	}
	if err := h.commands(ctx, h.new, c.then); err != nil {
		return err
	}
	return h.examine(ctx, c, before)
}

// prepare brings up the old program's cluster with a row of the user's.
func (h *home) prepare(ctx context.Context, c takeover) error {
	first := [][]string{up(), {"psql", "--", "-qc", "CREATE TABLE kept AS SELECT 42 AS answer"}}
	return h.commands(ctx, h.old, append(first, c.before...))
}

func (h *home) commands(ctx context.Context, program string, list [][]string) error {
	for _, words := range list {
		// Their names begin with the date.
		backups, err := filepath.Glob(filepath.Join(h.dir, "backups", "*"))
		if err != nil {
			return err
		}
		slices.Sort(backups)
		backup := append([]string{""}, backups...)[len(backups)]
		r := strings.NewReplacer("HOME", h.dir, "BACKUP", backup)
		args := make([]string, len(words))
		for i, w := range words {
			args[i] = r.Replace(w)
		}
		if _, err := h.run(ctx, program, args...); err != nil {
			return err
		}
	}
	return nil
}

// interrupt begins the operation, and kills the old daemon when the part of
// its steps is done.
func (h *home) interrupt(ctx context.Context, c takeover) (operation, time.Time, error) {
	if c.command == nil {
		pid, err := h.daemon(ctx)
		if err != nil {
			return operation{}, time.Time{}, err
		}
		h.told = "at rest"
		return operation{}, time.Now(), h.kill(ctx, pid)
	}
	args := c.command
	if c.file != "" {
		file := filepath.Join(h.dir, "cluster.yaml")
		if err := os.WriteFile(file, []byte("name: main\nprovider: local\n"+c.file), 0o600); err != nil {
			return operation{}, time.Time{}, err
		}
		args = append(args, file)
	}
	last, _ := h.latest(ctx) // without a daemon there is none
	client := h.command(ctx, h.old, args...)
	if err := client.Start(); err != nil {
		return operation{}, time.Time{}, err
	}
	o, pid, err := h.await(ctx, c, last.ID)
	// The client would start the old daemon again.
	err = errors.Join(err, client.Process.Kill())
	_ = client.Wait()
	if err != nil {
		return o, time.Time{}, err
	}
	killed := time.Now()
	return o, killed, h.kill(ctx, pid)
}

// await freezes the daemon when the part of the steps is done.
func (h *home) await(ctx context.Context, c takeover, last string) (o operation, pid int, err error) {
	err = poll(ctx, func() (bool, error) {
		now, err := h.latest(ctx)
		if err != nil || now.ID == "" || now.ID == last || now.Kind != c.kind || len(now.Steps) == 0 {
			return false, nil //nolint:nilerr // no daemon yet
		}
		if pid == 0 {
			pid, err = h.daemon(ctx)
		}
		if err != nil {
			return false, nil //nolint:nilerr // as above
		}
		o = now
		if now.State != "running" {
			return false, fmt.Errorf("%w: %s", errMissed, now.State)
		}
		if float64(now.done()) < c.part*float64(len(now.Steps)) {
			return false, nil
		}
		h.told = fmt.Sprintf("%d of %d steps done", now.done(), len(now.Steps))
		return true, syscall.Kill(pid, syscall.SIGSTOP)
	})
	return o, pid, err
}

// ended waits for the end of the operation, or of the one that the new program
// made of it.
func (h *home) ended(ctx context.Context, c takeover, interrupted operation, killed time.Time) error {
	if c.command == nil {
		return nil
	}
	var o operation
	err := poll(ctx, func() (bool, error) {
		var err error
		o, err = h.latest(ctx)
		return o.State != "running", err
	})
	if err != nil {
		return fmt.Errorf("waiting for %s %s: %w", c.kind, interrupted.ID, err)
	}
	if o.EndedAt != nil && o.EndedAt.Before(killed) {
		return errMissed
	}
	if o.Kind != c.kind || o.State != "succeeded" {
		why := ""
		if o.Error != nil {
			why = ": " + o.Error.Message
		}
		return fmt.Errorf("operation %s (%s) is %s, not succeeded%s", o.ID, o.Kind, o.State, why)
	}
	return nil
}

// examine holds the cluster against the case, and starts what is stopped.
func (h *home) examine(ctx context.Context, c takeover, before map[string]int) error {
	if out, err := h.run(ctx, h.new, "state", "check"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	phase, standbys, err := h.ps(ctx)
	if err != nil {
		return err
	}
	if phase != c.phase || standbys != c.standbys {
		return fmt.Errorf("the cluster is %q with %d standbys, want %q with %d", phase, standbys, c.phase, c.standbys)
	}
	after, err := h.servers()
	if err != nil {
		return err
	}
	for _, m := range c.kept {
		if before[m] == 0 || before[m] != after[m] {
			return fmt.Errorf("the server of %s was process %d and is %d", m, before[m], after[m])
		}
	}
	if c.phase == "" {
		return nil
	}
	if c.phase != "ready" {
		if _, err := h.run(ctx, h.new, "start", "-q"); err != nil {
			return err
		}
	}
	if _, err := h.run(ctx, h.new, "verify", "-q"); err != nil {
		return err
	}
	return h.rows(ctx, c)
}

// ps returns the phase and the number of standbys; none where the cluster is gone.
func (h *home) ps(ctx context.Context) (phase string, standbys int, err error) {
	out, err := h.run(ctx, h.new, "ps", "-o", "json")
	var status struct {
		Phase   string            `json:"phase"`
		Members []json.RawMessage `json:"members"`
	}
	if jsonErr := json.Unmarshal(out, &status); jsonErr != nil || status.Phase == "" {
		if err != nil && strings.Contains(err.Error(), "not-found") {
			return "", 0, nil
		}
		return "", 0, errors.Join(err, jsonErr)
	}
	return status.Phase, len(status.Members) - 1, nil // a degraded cluster's exit code is 3
}

func (h *home) rows(ctx context.Context, c takeover) error {
	query, want := "SELECT count(*) FROM rental", "16044\n"
	if c.name != "up" && c.name != "up-half" {
		query, want = "SELECT count(*) + (SELECT answer FROM kept) FROM rental", "16086\n"
	}
	out, err := h.run(ctx, h.new, "psql", "--", "-XAtc", query)
	if err == nil && string(out) != want {
		err = fmt.Errorf("%s: got %q, want %q", query, out, want)
	}
	return err
}

// clear removes the cluster, the daemon and the home.
func (h *home) clear(ctx context.Context) error {
	_, downErr := h.run(ctx, h.new, "down", "--volumes", "--yes", "-q")
	if downErr != nil && strings.Contains(downErr.Error(), "not-found") {
		downErr = nil
	}
	_, shutErr := h.run(ctx, h.new, "shutdown", "-q")
	if err := errors.Join(downErr, shutErr); err != nil {
		return err
	}
	return os.RemoveAll(h.dir)
}
