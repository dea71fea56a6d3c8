package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// cgroups describes the machine's hierarchy of control groups, version 2. The
// zero value stands for a machine without one.
type cgroups struct {
	// mount is the hierarchy's mount point, or "".
	mount string
	// root is the part of the hierarchy that the mount shows.
	root string
	// euid is the user that creates cgroups.
	euid int
}

func findCgroups(euid int) cgroups {
	f, err := os.Open(filepath.Join(procDir, "self", "mountinfo"))
	if err != nil {
		return cgroups{}
	}
	defer func() { _ = f.Close() }()
	c := cgroups{euid: euid}
	for s := bufio.NewScanner(f); s.Scan(); {
		if root, mount, ok := parseCgroupMount(s.Text()); ok {
			c.root, c.mount = root, mount
		}
	}
	return c
}

// parseCgroupMount parses a line of mountinfo (proc_pid_mountinfo(5)). Hybrid
// hosts mount the unified hierarchy at /sys/fs/cgroup/unified.
func parseCgroupMount(line string) (root, mount string, ok bool) {
	before, after, found := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	if kind := strings.Fields(after); !found || len(kind) == 0 || kind[0] != "cgroup2" || len(fields) < 5 {
		return "", "", false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return unescape.Replace(fields[3]), unescape.Replace(fields[4]), true
}

// ofProc returns the directory of the process's cgroup, or "".
func (c cgroups) ofProc(p proc) string {
	data, err := readKernel(p.path("cgroup"))
	if err != nil || c.mount == "" {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			rel, err := filepath.Rel(c.root, path)
			if err != nil || strings.HasPrefix(rel, "..") {
				return ""
			}
			return filepath.Join(c.mount, rel)
		}
	}
	return ""
}

// candidates returns the directories where the cgroup of that name may be. Root
// creates the cgroup at the top, where no service manager removes it. Other
// users create it in pgapp's own cgroup, or their user manager makes a scope.
func (c cgroups) candidates(tag string) []string {
	if c.mount == "" {
		return nil
	}
	out := []string{filepath.Join(c.mount, tag)}
	if c.euid == 0 {
		return out
	}
	if own := c.ofProc(proc{os.Getpid()}); own != "" {
		out = append(out, filepath.Join(own, tag))
	}
	uid := strconv.Itoa(c.euid)
	service := filepath.Join(c.mount, "user.slice", "user-"+uid+".slice", "user@"+uid+".service")
	return append(out, filepath.Join(service, tag+".scope"), filepath.Join(service, "app.slice", tag+".scope"))
}

// existing lists the existing cgroups of that name.
func (c cgroups) existing(tag string) []cgroup {
	var out []cgroup
	for _, dir := range c.candidates(tag) {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			out = append(out, cgroup{dir})
		}
	}
	return out
}

// ensure finds or creates the cgroup. ok is false if pgapp may not create one. A
// repeat is safe.
func (c cgroups) ensure(tag string) (g cgroup, ok bool) {
	for _, dir := range c.candidates(tag) {
		if strings.HasSuffix(dir, ".scope") {
			continue // only the user manager makes scopes
		}
		if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			return cgroup{dir}, true
		}
	}
	return cgroup{}, false
}

// usable reports whether pgapp may create cgroups, without creating one.
func (c cgroups) usable() bool {
	for _, dir := range c.candidates("pgapp") {
		if strings.HasSuffix(dir, ".scope") {
			continue
		}
		if syscall.Access(filepath.Dir(dir), 2) == nil {
			return true
		}
	}
	return false
}

// eventsFile tells whether a cgroup is populated and whether it is frozen. The
// kernel reports each change to who watches the file.
const eventsFile = "cgroup.events"

// cgroup is one control group.
type cgroup struct{ dir string }

// open returns the directory for SysProcAttr.CgroupFD.
func (g cgroup) open() (*os.File, error) {
	f, err := os.Open(g.dir)
	if err != nil {
		return nil, fmt.Errorf("opening the cgroup: %w", err)
	}
	return f, nil
}

// populated reports whether the cgroup or a cgroup below contains a process. A
// removed cgroup contains none.
func (g cgroup) populated() (bool, error) {
	data, err := readKernel(filepath.Join(g.dir, eventsFile))
	if goneCgroup(err) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("reading the cgroup's state: %w", err)
	}
	return !bytes.Contains(data, []byte("populated 0")), nil
}

// kill sends SIGKILL to every process in the cgroup and below. From Linux 5.14
// on, the kernel also kills processes forked meanwhile; on older kernels the
// caller has to repeat kill until the cgroup is empty.
func (g cgroup) kill() error {
	err := os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
	if err == nil || goneCgroup(err) && !g.exists() {
		return nil
	}
	pids, err := g.pids()
	if err != nil {
		return err
	}
	inside := func(p proc) bool {
		now, err := g.pids()
		return err == nil && slices.Contains(now, p.pid)
	}
	var errs []error
	for _, pid := range pids {
		errs = append(errs, proc{pid}.kill(syscall.SIGKILL, inside))
	}
	return errors.Join(errs...)
}

// frozen reports whether the cgroup is frozen, or is to be.
func (g cgroup) frozen() bool {
	wanted, _ := readKernel(filepath.Join(g.dir, "cgroup.freeze"))
	events, _ := readKernel(filepath.Join(g.dir, eventsFile))
	return bytes.HasPrefix(wanted, []byte("1")) || bytes.Contains(events, []byte("frozen 1"))
}

func (g cgroup) exists() bool {
	_, err := os.Stat(g.dir)
	return err == nil
}

// pids lists the processes in the cgroup and below.
func (g cgroup) pids() ([]int, error) {
	var out []int
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			if goneCgroup(err) {
				return nil
			}
			return err
		}
		data, err := readKernel(path)
		if err != nil && !goneCgroup(err) {
			return err
		}
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil {
				out = append(out, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the cgroup's processes: %w", err)
	}
	return out, nil
}

// remove removes the cgroup and the cgroups below; all have to be empty.
func (g cgroup) remove() error {
	entries, err := os.ReadDir(g.dir)
	if goneCgroup(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := (cgroup{filepath.Join(g.dir, e.Name())}).remove(); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(g.dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("removing the cgroup %q: %w", filepath.Base(g.dir), err)
	}
	return nil
}

// end kills the cgroup's processes, waits until it is empty and removes it.
func (g cgroup) end(ctx context.Context) error {
	return wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		busy, err := g.populated()
		if err != nil {
			return false, err
		}
		if busy {
			return false, g.kill()
		}
		err = g.remove()
		if errors.Is(err, fs.ErrPermission) {
			return false, g.foreignProblem(err)
		}
		return err == nil, nil
	})
}

// foreignProblem returns the Problem for a cgroup that belongs to another user
// and can't be removed. Waiting doesn't help.
func (g cgroup) foreignProblem(err error) error {
	return appliance.NewProblem(appliance.ErrHostPermission, "another user, such as root, made the cgroup %s: %w", g.dir, err).
		WithHint("have root remove it: find %s -depth -type d -delete; then run the same command again", g.dir)
}

// goneCgroup reports whether err says that the cgroup was removed meanwhile.
func goneCgroup(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}

// refusedCgroup reports whether err says that this machine can't start a
// process in a cgroup. Starting without a cgroup may still work.
func refusedCgroup(err error) bool {
	for _, e := range []error{syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EBUSY, syscall.EOPNOTSUPP, syscall.ENOENT, syscall.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
