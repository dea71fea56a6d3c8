package share

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// Mark is the extended attribute of a version 2 group that has a share, and of its parent
// where this package made that one pass the controller on.
const Mark = "user.pgapp.share"

// own is a member in version 2, with its own group.
type own struct {
	self process
	dir  string
}

// passOn is the value in the mark of a parent that didn't pass the controller on.
const passOn = "-cpu"

// mark is the value of the attribute.
type mark struct {
	maker process
	// before is cpu.max from before the share, such as "max 100000", or passOn.
	before string
}

func (m mark) String() string { return fmt.Sprintf("%d %d %s", m.maker.pid, m.maker.start, m.before) }

func parseMark(text string) (mark, error) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) == 3 {
		pid, err := strconv.Atoi(parts[0])
		start, startErr := strconv.ParseUint(parts[1], 10, 64)
		if err == nil && startErr == nil {
			return mark{process{pid, start}, parts[2]}, nil
		}
	}
	return mark{}, fmt.Errorf("the attribute %s has the value %q, which pgapp doesn't write", Mark, text)
}

// readMark returns the group's mark; ok is false where it has none.
func readMark(dir string) (m mark, ok bool, err error) {
	buf := make([]byte, 256)
	n, err := unix.Getxattr(dir, Mark, buf)
	switch {
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || gone(err):
		return mark{}, false, nil
	case err != nil:
		return mark{}, false, fmt.Errorf("reading the attribute %s of %s: %w", Mark, dir, err)
	}
	m, err = parseMark(string(buf[:n]))
	return m, err == nil, err
}

func (m mark) write(dir string) error {
	err := unix.Setxattr(dir, Mark, []byte(m.String()), 0)
	if errors.Is(err, unix.ENOTSUP) {
		return appliance.NewProblem(appliance.ErrHostUnable, "this machine's kernel keeps no attribute of a control group: %w", err).
			WithHint("use Linux 5.7 or newer")
	}
	if err != nil {
		return denied(dir, err)
	}
	return nil
}

func unmark(dir string) error {
	if err := unix.Removexattr(dir, Mark); err != nil && !errors.Is(err, unix.ENODATA) && !gone(err) {
		return fmt.Errorf("removing the attribute %s of %s: %w", Mark, dir, err)
	}
	return nil
}

func (h hierarchy) findOwn(self, root process) (member, error) {
	dir, err := h.group(root, "")
	if err != nil {
		return nil, err
	}
	if dir, err = h.ownGroup(dir, root); err != nil {
		return nil, err
	}
	if err := locked(filepath.Dir(dir), func() error { return limitable(dir, self) }); err != nil {
		return nil, err
	}
	return &own{self: self, dir: dir}, nil
}

// limitable returns why the process can't limit the group, if so.
func limitable(dir string, self process) error {
	m, marked, err := readMark(dir)
	if err != nil {
		return err
	}
	if marked && m.maker != self && m.maker.runs() {
		return appliance.NewProblem(appliance.ErrConflict, "process %d gives shares to this member already", m.maker.pid).
			WithHint("wait until the other suite has ended")
	}
	parent := filepath.Dir(dir)
	has, err := get(parent, "cgroup.controllers")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(has), "cpu") {
		return appliance.NewProblem(appliance.ErrHostUnable, "the control group %s has no controller cpu", parent).
			WithHint("run the suite as root, or have systemd pass it on: Delegate=cpu for user@.service")
	}
	file := filepath.Join(dir, "cpu.max")
	if passes, err := passesOn(parent); err != nil {
		return err
	} else if !passes {
		file = filepath.Join(parent, "cgroup.subtree_control")
	}
	if err := unix.Access(file, unix.W_OK); err != nil {
		return denied(dir, err)
	}
	return nil
}

// ownGroup returns the member's own group, which is dir or a group above: the local
// provider names it pgapp-… and may have made groups below.
func (h hierarchy) ownGroup(dir string, root process) (string, error) {
	for up := dir; strings.HasPrefix(up, h.mount+"/"); up = filepath.Dir(up) {
		if strings.HasPrefix(filepath.Base(up), "pgapp-") {
			return up, nil
		}
	}
	tree, err := root.tree()
	if err != nil {
		return "", err
	}
	inside, err := pids(dir)
	if err != nil {
		return "", err
	}
	for _, pid := range inside {
		if !slices.ContainsFunc(tree, func(s stat) bool { return s.pid == pid }) && dir != h.mount {
			if s, err := readStat(pid); err == nil && s.runs() {
				return "", shared(dir, pid)
			}
		}
	}
	if dir == h.mount {
		return "", shared(dir, 1)
	}
	return dir, nil
}

func shared(dir string, pid int) error {
	return appliance.NewProblem(appliance.ErrHostUnable, "the member has no control group of its own: process %d is in %s too", pid, dir).
		WithHint("run pgapp as root or in a user's systemd, and start the member anew")
}

// passesOn tells whether the group's children have the controller cpu.
func passesOn(dir string) (bool, error) {
	text, err := get(dir, "cgroup.subtree_control")
	return slices.Contains(strings.Fields(text), "cpu"), err
}

// locked calls do while no other process changes which controllers the group passes on, or
// gives or takes a share below it. The lock ends with the process.
func locked(dir string, do func() error) error {
	f, err := os.Open(dir) //nolint:gosec // a directory of the kernel's
	if err != nil {
		return fmt.Errorf("opening a control group: %w", err)
	}
	defer func() { _ = f.Close() }()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("locking the control group %s: %w", dir, err)
		}
		return do()
	}
}

func (o *own) apply(quota int) error {
	return locked(filepath.Dir(o.dir), func() error { return o.set(quota) })
}

// set marks before it changes, so that what a killed process did is found. It marks
// the member's group before its parent, which passes the controller on for as long as a
// group below has a mark.
func (o *own) set(quota int) error {
	m, marked, err := readMark(o.dir)
	if err != nil {
		return err
	}
	if !marked {
		m.before, err = get(o.dir, "cpu.max")
		if gone(err) { // no controller yet
			m.before, err = fmt.Sprintf("max %d", period), nil
		}
		if err != nil {
			return err
		}
	}
	m.maker = o.self // what a killed process left is this one's to put back now
	if err := m.write(o.dir); err != nil {
		return err
	}
	parent := filepath.Dir(o.dir)
	passes, err := passesOn(parent)
	if err != nil {
		return err
	}
	if !passes {
		if err := (mark{o.self, passOn}).write(parent); err != nil {
			return err
		}
		if err := put(parent, "cgroup.subtree_control", "+cpu"); err != nil {
			return denied(parent, err)
		}
	}
	if err := put(o.dir, "cpu.max", fmt.Sprintf("%d %d", quota, period)); err != nil {
		return denied(o.dir, err)
	}
	return nil
}

func (o *own) used() (float64, error) {
	text, err := get(o.dir, "cpu.stat")
	if err != nil {
		return 0, err
	}
	return parseUsage(text)
}

func (o *own) restore() error {
	err := restoreGroup(o.dir, func(maker process) bool { return maker == o.self })
	return errors.Join(err, restoreParent(filepath.Dir(o.dir)))
}

// restoreGroup takes away the group's share if its maker's shares are to be taken.
func restoreGroup(dir string, takes func(maker process) bool) error {
	return ifThere(locked(filepath.Dir(dir), func() error {
		m, marked, err := readMark(dir)
		if err != nil || !marked || !takes(m.maker) {
			return err
		}
		if err := put(dir, "cpu.max", m.before); err != nil && !gone(err) {
			return err
		}
		return unmark(dir)
	}))
}

// ifThere is the error, but for one that says that the group has gone.
func ifThere(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

// restoreParent makes the group pass on what it did before, once no group in it has a
// share. Which process made it pass the controller on doesn't matter: the last one ends it.
func restoreParent(dir string) error {
	return ifThere(locked(dir, func() error { return passNoMore(dir) }))
}

func passNoMore(dir string) error {
	_, marked, err := readMark(dir)
	if err != nil || !marked {
		return err
	}
	below, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing the groups of %s: %w", dir, err)
	}
	for _, child := range below {
		if !child.IsDir() {
			continue
		}
		if _, shares, err := readMark(filepath.Join(dir, child.Name())); err != nil || shares {
			return err
		}
	}
	// A group below that passes the controller on itself keeps it: another's since.
	if err := put(dir, "cgroup.subtree_control", passOn); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return unmark(dir)
}

// restoreOwn takes away the shares of processes that have ended.
func (h hierarchy) restoreOwn() error {
	var parents []string
	err := h.walk(func(dir string) error {
		m, marked, err := readMark(dir)
		switch {
		case err != nil || !marked || m.maker.runs() && m.before != passOn:
			return err
		case m.before == passOn:
			parents = append(parents, dir)
			return nil
		}
		return restoreGroup(dir, func(maker process) bool { return !maker.runs() })
	})
	errs := []error{err}
	for _, dir := range parents {
		errs = append(errs, restoreParent(dir))
	}
	return errors.Join(errs...)
}
