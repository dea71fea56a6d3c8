package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// fenceTimeout bounds every fence. A process that survives SIGKILL for that
// long is waiting for a disk.
const fenceTimeout = 15 * time.Second

// proofScans is the number of consecutive scans that must find no process. A
// single scan can miss a child forked during the scan.
const proofScans = 2

// Fence kills every process of the member, including those of commands, and
// proves by the cgroup and by /proc that none is left. Fence doesn't scan /proc
// for a foreign directory. A failed proof is a Problem with id fence-unproven.
// A repeat is safe.
func (m *machine) Fence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	own, err := m.owned()
	if err != nil {
		return asFence(m.member, err)
	}
	var met hunt
	left := ""
	clean := 0
	err = wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		busy, err := m.killOnce(own != foreign, &met)
		if err != nil {
			return false, err
		}
		if left = strings.Join(busy, ", "); left != "" {
			clean = 0
			return false, nil
		}
		clean++
		return clean >= proofScans, nil
	})
	if err != nil {
		if left != "" {
			err = fmt.Errorf("left are %s: %w", left, err)
		}
		return asFence(m.member, err)
	}
	if err := m.reaped(ctx); err != nil {
		return asFence(m.member, err)
	}
	if own == ours && m.p.account.exists() {
		if err := m.freeSharedMemory(ctx, memoryPatience); err != nil {
			return err
		}
	}
	return m.removeCgroups(ctx)
}

// killOnce sends SIGKILL to all processes of the member and describes those it
// found in busy. An empty busy means that no process was found.
func (m *machine) killOnce(scan bool, met *hunt) (busy []string, err error) {
	var errs []error
	for _, g := range m.p.cgroups.existing(m.tag()) {
		populated, err := g.populated()
		if err == nil && populated {
			busy = append(busy, "cgroup "+m.tag())
			err = g.kill()
		}
		errs = append(errs, err)
	}
	if !scan || !m.p.account.exists() {
		return busy, errors.Join(errs...)
	}
	t, err := m.territory("")
	if err != nil {
		return busy, err
	}
	left, hidden, err := met.once(t)
	errs = append(errs, err)
	for _, p := range left {
		state, _ := p.stat()
		busy = append(busy, fmt.Sprintf("process %d (%s, state %c)", p.pid, p.comm(), state))
	}
	for _, p := range hidden {
		busy = append(busy, fmt.Sprintf("process %d (%s, can't be looked at)", p.pid, p.comm()))
	}
	return busy, errors.Join(errs...)
}

// hunt kills all processes of a territory. A hunt remembers the processes it
// found, because an exiting process loses its working directory and a later
// scan misses it.
type hunt struct{ met []proc }

// once kills the territory's processes. left are the processes found so far
// that haven't ended; hidden are processes that may belong to the territory but
// whose directory can't be read.
func (h *hunt) once(t territory) (left, hidden []proc, err error) {
	in, hidden, err := t.scan()
	for _, p := range in {
		if !slices.Contains(h.met, p) {
			h.met = append(h.met, p)
		}
		err = errors.Join(err, p.kill(syscall.SIGKILL, t.holds))
	}
	h.met = slices.DeleteFunc(h.met, t.ended)
	return h.met, hidden, err
}

func (m *machine) removeCgroups(ctx context.Context) error {
	for _, g := range m.p.cgroups.existing(m.tag()) {
		if err := g.end(ctx); err != nil {
			return fmt.Errorf("removing the cgroup of member %q: %w", m.member, err)
		}
	}
	return nil
}

// asFence wraps err in a Problem with id fence-unproven.
func asFence(member string, err error) error {
	return appliance.NewProblem(appliance.ErrFence, "could not prove that member %s has no process left: %w", member, err).
		WithHint("look at its processes with ps; one in state D waits for its disk, and ends when the disk answers")
}
