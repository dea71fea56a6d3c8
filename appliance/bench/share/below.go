package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// prefix begins the names of the groups that this package makes.
const prefix = "pgapp-share-"

// rounds bounds how often processes are listed and moved. Two rounds are enough unless a
// process forks all the time: the children of a moved process are in its new group.
const rounds = 100

// below is a member in version 1, with groups of its own below the postmaster's.
type below struct {
	root process
	// cpu is the group with the limit. cpuacct is the one that counts, the same one where
	// both controllers are in one hierarchy, and empty without the controller.
	cpu, cpuacct string
	// before is what the member had used when its group began to count; counts tells
	// whether it does.
	before float64
	counts bool
}

// belowName is the name of a group that the process maker makes for the member.
func belowName(maker process, member string, root process) string {
	return fmt.Sprintf("%s%d-%d-%s-%d", prefix, maker.pid, maker.start, member, root.pid)
}

// parseBelow returns the process that made a group of that name. ok is false for a
// group that isn't this package's.
func parseBelow(name string) (maker process, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	parts := strings.SplitN(rest, "-", 3)
	if !ok || len(parts) < 3 {
		return process{}, false
	}
	pid, err := strconv.Atoi(parts[0])
	start, startErr := strconv.ParseUint(parts[1], 10, 64)
	return process{pid, start}, err == nil && startErr == nil
}

func (m machine) findBelow(name string, self, root process) (member, error) {
	b := &below{root: root}
	for _, h := range []struct {
		hierarchy
		controller string
		dir        *string
	}{{m.cpu, "cpu", &b.cpu}, {m.cpuacct, "cpuacct", &b.cpuacct}} {
		if h.mount == "" {
			continue
		}
		dir, err := h.group(root, h.controller)
		if err != nil {
			return nil, err
		}
		if maker, ours := parseBelow(filepath.Base(dir)); ours {
			if maker != self && maker.runs() {
				return nil, appliance.NewProblem(appliance.ErrConflict, "process %d gives shares to this member already", maker.pid).
					WithHint("wait until the other suite has ended")
			}
			dir = filepath.Dir(dir)
		}
		if err := unix.Access(dir, unix.W_OK); err != nil {
			return nil, denied(dir, err)
		}
		*h.dir = filepath.Join(dir, belowName(self, name, root))
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(b.cpu), "cpu.cfs_quota_us")); err != nil {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "this machine's kernel can't limit the processors of a group: %w", err).
			WithHint("use a kernel with CONFIG_CFS_BANDWIDTH")
	}
	return b, nil
}

func (b *below) dirs() []string {
	dirs := []string{b.cpu}
	if b.cpuacct != "" && b.cpuacct != b.cpu {
		dirs = append(dirs, b.cpuacct)
	}
	return dirs
}

func (b *below) apply(quota int) error {
	before, err := b.treeUsed()
	if err != nil {
		return err
	}
	for _, dir := range b.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a group is no secret
			return denied(filepath.Dir(dir), err)
		}
	}
	if err := errors.Join(put(b.cpu, "cpu.cfs_period_us", strconv.Itoa(period)), put(b.cpu, "cpu.cfs_quota_us", strconv.Itoa(quota))); err != nil {
		if errors.Is(err, syscall.EINVAL) {
			return appliance.NewProblem(appliance.ErrHostUnable, "the group %s has fewer processors than that: %w", filepath.Dir(b.cpu), err).
				WithHint("give each member a smaller share")
		}
		return err
	}
	for _, dir := range b.dirs() {
		if err := b.move(dir); err != nil {
			return err
		}
	}
	if !b.counts && b.cpuacct != "" {
		counted, err := b.groupUsed()
		if err != nil {
			return err
		}
		b.before, b.counts = before-counted, true
	}
	return nil
}

// move moves the member's processes to the group until all are there. Each is moved once:
// the kernel leaves a process that is ending where it is, which begins no other, and says
// nothing (cgroup_migrate_add_task). With the limit in force it may take long to end.
func (b *below) move(dir string) error {
	moved := map[process]bool{}
	for range rounds {
		tree, err := b.root.tree()
		if err != nil {
			return err
		}
		inside, err := pids(dir)
		if err != nil {
			return err
		}
		if !b.root.runs() {
			return appliance.NewProblem(appliance.ErrMemberUnreachable, "process %d has ended", b.root.pid)
		}
		outside := slices.DeleteFunc(tree, func(s stat) bool {
			return s.state == 'Z' || s.state == 'X' || moved[s.process] || slices.Contains(inside, s.pid)
		})
		if len(outside) == 0 {
			return nil
		}
		for _, s := range outside {
			if err := moveOne(s.process, dir); err != nil {
				return err
			}
			moved[s.process] = true
		}
	}
	return fmt.Errorf("process %d begins new processes faster than they can be moved", b.root.pid)
}

// moveOne moves the process to the group. The kernel takes a number; where the number was
// given to another process in the meantime, that one is moved back.
func moveOne(p process, dir string) error {
	if !p.runs() {
		return nil
	}
	if err := put(dir, "cgroup.procs", strconv.Itoa(p.pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if s, err := readStat(p.pid); err == nil && s.process != p {
		if err := put(filepath.Dir(dir), "cgroup.procs", strconv.Itoa(p.pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

func (b *below) used() (float64, error) {
	if !b.counts {
		return b.treeUsed()
	}
	seconds, err := b.groupUsed()
	return b.before + seconds, err
}

func (b *below) groupUsed() (float64, error) {
	text, err := get(b.cpuacct, "cpuacct.usage")
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a group's use of the processors: %w", err)
	}
	return float64(ns) / 1e9, nil
}

func (b *below) treeUsed() (float64, error) {
	tree, err := b.root.tree()
	if err != nil {
		return 0, err
	}
	if len(tree) == 0 {
		return 0, fmt.Errorf("process %d has ended", b.root.pid)
	}
	var ticks uint64
	for _, s := range tree {
		ticks += s.ticks
	}
	return float64(ticks) / ticksPerSecond, nil
}

func (b *below) restore() error {
	var errs []error
	for _, dir := range b.dirs() {
		errs = append(errs, removeBelow(dir))
	}
	b.counts = false // the group's count goes with it
	return errors.Join(errs...)
}

// removeBelow moves the group's processes to the parent group and removes the group.
func removeBelow(dir string) error {
	var last error
	for range rounds {
		inside, err := pids(dir)
		if err != nil {
			return err
		}
		for _, pid := range inside {
			if err := put(filepath.Dir(dir), "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		if last = syscall.Rmdir(dir); last == nil || gone(last) {
			return nil
		}
		if !errors.Is(last, syscall.EBUSY) { // a process was forked in the meantime
			break
		}
	}
	return fmt.Errorf("removing the control group %s: %w", dir, last)
}

// restoreBelow removes the groups of processes that have ended.
func (m machine) restoreBelow() error {
	var errs []error
	for _, h := range []hierarchy{m.cpu, m.cpuacct} {
		errs = append(errs, h.walk(func(dir string) error {
			if maker, ours := parseBelow(filepath.Base(dir)); ours && !maker.runs() {
				return removeBelow(dir)
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// walk visits all groups of the hierarchy. A group's error doesn't stop the others.
func (h hierarchy) walk(visit func(dir string) error) error {
	if h.mount == "" {
		return nil
	}
	var errs []error
	err := filepath.WalkDir(h.mount, func(path string, d fs.DirEntry, err error) error {
		switch {
		case gone(err) || err == nil && !d.IsDir():
			return nil
		case err != nil:
			return err
		}
		errs = append(errs, visit(path))
		return nil
	})
	return errors.Join(append(errs, err)...)
}
