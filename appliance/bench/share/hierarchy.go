package share

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// hierarchy is one mounted hierarchy of control groups. The zero value stands for
// none.
type hierarchy struct {
	// mount is where it is mounted, root the part of it that the mount shows.
	mount, root string
}

// machine is what this machine has of control groups.
type machine struct {
	// cpu and cpuacct are version 1's hierarchies of these controllers, the same one on
	// most machines; unified is version 2's.
	cpu, cpuacct, unified hierarchy
}

func readMachine() (machine, error) {
	text, err := os.ReadFile(filepath.Join(procDir, "self", "mountinfo"))
	if err != nil {
		return machine{}, fmt.Errorf("looking for control groups: %w", err)
	}
	return parseMounts(string(text)), nil
}

// parseMounts parses mountinfo (proc_pid_mountinfo(5)). Of several mounts of one
// hierarchy the first counts.
func parseMounts(text string) machine {
	var m machine
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	set := func(h *hierarchy, fields []string) {
		if h.mount == "" {
			*h = hierarchy{mount: unescape.Replace(fields[4]), root: unescape.Replace(fields[3])}
		}
	}
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 {
			continue
		}
		switch options := strings.Split(kind[len(kind)-1], ","); kind[0] {
		case "cgroup2":
			set(&m.unified, fields)
		case "cgroup":
			if slices.Contains(options, "cpu") {
				set(&m.cpu, fields)
			}
			if slices.Contains(options, "cpuacct") {
				set(&m.cpuacct, fields)
			}
		}
	}
	return m
}

// groupPath parses /proc/PID/cgroup and returns the group in the hierarchy of the
// controller, or in version 2's for "".
func groupPath(text []byte, controller string) (string, bool) {
	for line := range bytes.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), controller) {
			return parts[2], true
		}
	}
	return "", false
}

// group returns the directory of the process's group in the hierarchy.
func (h hierarchy) group(p process, controller string) (string, error) {
	text, err := os.ReadFile(filepath.Join(procDir, strconv.Itoa(p.pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("looking for the group of process %d: %w", p.pid, err)
	}
	path, ok := groupPath(text, controller)
	rel, err := filepath.Rel(h.root, path)
	if !ok || err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", appliance.NewProblem(appliance.ErrHostUnable, "the group %q of process %d is outside %s", path, p.pid, h.mount).
			WithHint("run pgapp where it sees the members' control groups, not in a container of its own")
	}
	return filepath.Join(h.mount, rel), nil
}

// pids lists the processes in the group itself, none where the group has gone.
func pids(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")) //nolint:gosec // a file of the kernel's
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("listing the group's processes: %w", err)
	}
	var out []int
	for _, f := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out, nil
}

// put writes a value to a file of the kernel's.
func put(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0) //nolint:gosec // a file of the kernel's
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing %q to a control group: %w", value, err)
	}
	return nil
}

// get reads a file of the kernel's.
func get(dir, file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, file)) //nolint:gosec // a file of the kernel's
	if err != nil {
		return "", fmt.Errorf("reading a control group: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// parseUsage finds usage_usec in version 2's cpu.stat and returns it in seconds.
func parseUsage(text string) (float64, error) {
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, err := strconv.ParseUint(strings.TrimSpace(n), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading a group's use of the processors: %w", err)
			}
			return float64(us) / 1e6, nil
		}
	}
	return 0, fmt.Errorf("reading a group's use of the processors: no usage_usec in %q", text)
}
