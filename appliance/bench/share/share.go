package share

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"

	"pgapp/appliance"
)

// period is the time over which the kernel counts a group's use, in microseconds, and
// least the smallest quota that it accepts.
const (
	period = 100_000
	least  = 1_000
)

// Set is the members that get a share. Its methods are for one goroutine at a time.
type Set struct{ members map[string]member }

// member is a member's processes and the group that limits them.
type member interface {
	// apply limits the member to quota microseconds of each period.
	apply(quota int) error
	// used is the time in seconds that the member has used.
	used() (float64, error)
	// restore takes the limit away.
	restore() error
}

// Find finds the members' processes and groups, and changes nothing. pids holds
// the postmaster's process by the member's name. Find returns a [appliance.Problem]
// that says why where this machine can't give shares. A Set is about these
// postmasters: after a member's restart, Find again.
func Find(pids map[string]int) (*Set, error) {
	m, err := readMachine()
	if err != nil {
		return nil, err
	}
	s := &Set{members: map[string]member{}}
	self, err := readStat(os.Getpid())
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		root, err := findRoot(pids[name], self.process)
		if err != nil {
			return nil, appliance.NewProblem(appliance.ErrMemberUnreachable, "member %s: %w", name, err).
				WithHint("start the member, then run the same command again")
		}
		if s.members[name], err = m.find(name, self.process, root); err != nil {
			return nil, fmt.Errorf("giving member %s its share of the processors: %w", name, err)
		}
	}
	return s, nil
}

// findRoot returns the process of that number, which must not be this process or one that
// this one comes from.
func findRoot(pid int, self process) (process, error) {
	root, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	if !root.runs() {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	tree, err := root.tree()
	if err != nil {
		return process{}, err
	}
	if pid <= 1 || slices.ContainsFunc(tree, func(s stat) bool { return s.process == self }) {
		return process{}, fmt.Errorf("process %d is no server: pgapp comes from it", pid)
	}
	return root.process, nil
}

// find finds the member's group. A controller is in one hierarchy only.
func (m machine) find(name string, self, root process) (member, error) {
	switch {
	case m.cpu.mount != "":
		return m.findBelow(name, self, root)
	case m.unified.mount != "":
		return m.unified.findOwn(self, root)
	}
	return nil, appliance.NewProblem(appliance.ErrHostUnable, "this machine has no control groups").
		WithHint("run the suite without equal shares; its figures then say nothing about scaling")
}

// Apply limits each member to that many cores, such as 0.5. A repeat is safe, also with
// another number. A member that ended since [Find] is an error; the others have their
// shares then.
func (s *Set) Apply(cores float64) error {
	quota := math.Round(cores * period)
	if !(quota >= least && quota <= math.MaxInt32) { // the negation holds for NaN too
		return appliance.NewProblem(appliance.ErrUsage, "a share of %v cores isn't possible", cores).
			WithHint("give each member at least %v cores", float64(least)/period)
	}
	return s.each(func(m member) error { return m.apply(int(quota)) })
}

// Used returns the seconds of processor time that each member has used so far. Only the
// differences between two calls of one Set before [Set.PutBack] mean something. A member's group counts
// exactly; without groups (in version 1 before [Set.Apply], or without the controller
// cpuacct) Used adds up the times of the postmaster's process tree in hundredths of a
// second, where processes that have ended count through the postmaster that reaped them.
// A postmaster that has ended without groups is an error; the others' times are returned
// with it.
func (s *Set) Used() (map[string]float64, error) {
	out := map[string]float64{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		seconds, err := s.members[name].used()
		if err != nil {
			errs = append(errs, fmt.Errorf("measuring member %s: %w", name, err))
			continue
		}
		out[name] = seconds
	}
	return out, errors.Join(errs...)
}

// PutBack takes all shares of the Set away. A repeat is safe, and so is a member that
// has ended.
func (s *Set) PutBack() error { return s.each(member.restore) }

func (s *Set) each(do func(member) error) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		if err := do(s.members[name]); err != nil {
			errs = append(errs, fmt.Errorf("member %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Restore takes away all shares on this machine whose process has ended without
// [Set.PutBack], such as by kill -9. It needs no record of them, and leaves the shares
// of processes that run. A repeat is safe.
func Restore() error {
	m, err := readMachine()
	if err != nil {
		return err
	}
	return errors.Join(m.restoreBelow(), m.unified.restoreOwn())
}

// denied is the problem of a user who may not write to the group.
func denied(dir string, err error) error {
	return appliance.NewProblem(appliance.ErrHostPermission, "this user may not limit the processors of the group %s: %w", dir, err).
		WithHint("run the suite as root, or without equal shares; its figures then say nothing about scaling")
}
