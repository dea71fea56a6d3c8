package endpoint

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance/wait"
)

// groupName is the name of the process's control group, or of its scope. It differs
// between homes.
func groupName(home string) string {
	sum := sha256.Sum256([]byte(home))
	return "pgapp-endpoint-" + hex.EncodeToString(sum[:6])
}

// groupDir is root's control group of the home's process, at the top of the hierarchy,
// or "" where there is none to make. Ordinary users have a scope instead.
func groupDir(home string) string {
	mount := cgroupMount()
	if mount == "" || os.Geteuid() != 0 {
		return ""
	}
	return filepath.Join(mount, groupName(home))
}

// leaveGroup moves this process to a control group of its own, so that what ends the
// group of the daemon, such as its service manager, leaves the endpoints alone. Where
// that is not possible the process stays where it is.
func leaveGroup(home string) {
	dir := groupDir(home)
	if dir == "" {
		return
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return
	}
	_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// killGroup kills what is in the control group. Linux knows it from 5.14 on.
func killGroup(home string) {
	if dir := groupDir(home); dir != "" {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	}
}

// takeGroupAway removes the control group of this process, which nobody else will remove.
func takeGroupAway(home string) {
	dir := groupDir(home)
	if dir == "" {
		return
	}
	_ = os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.procs"), []byte("0"), 0)
	_ = syscall.Rmdir(dir)
}

// removeGroup removes the control group after the process has ended.
func removeGroup(ctx context.Context, home string) error {
	dir := groupDir(home)
	if dir == "" {
		return nil
	}
	err := wait.Until(ctx, endPoll, func(context.Context) (bool, error) {
		err := syscall.Rmdir(dir)
		if errors.Is(err, syscall.EBUSY) { // the process is not gone from it yet
			return false, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("removing the endpoints' control group: %w", err)
	}
	return nil
}

// cgroupMount is where the unified hierarchy is mounted, or "". Hybrid hosts have it
// beside the old ones.
func cgroupMount() string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	mount := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			mount = fields[4]
		}
	}
	return mount
}

// scopeProbe bounds the check for a user manager.
const scopeProbe = 5 * time.Second

// scopeOf returns the command that starts another in a scope of its own, and the
// environment that it needs, for an ordinary user with a systemd of his own: the kernel
// refuses to move a process out of a login session later.
func scopeOf(ctx context.Context, home string) (argv, env []string) {
	uid := os.Geteuid()
	runtime := "/run/user/" + strconv.Itoa(uid)
	if _, err := os.Stat(filepath.Join(runtime, "systemd", "private")); uid == 0 || err != nil {
		return nil, nil
	}
	stamp := strconv.FormatInt(time.Now().UnixNano(), 36)
	env = []string{"XDG_RUNTIME_DIR=" + runtime}
	ctx, cancel := context.WithTimeout(ctx, scopeProbe)
	defer cancel()
	probe := scopeCommand(groupName(home) + "-probe-" + stamp)
	cmd := exec.CommandContext(ctx, probe[0], append(probe[1:], "/bin/true")...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	if cmd.Run() != nil {
		return nil, nil
	}
	// The earlier process's scope may still be there during a handover.
	return scopeCommand(groupName(home) + "-" + stamp), env
}

func scopeCommand(unit string) []string {
	return []string{"/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect", "--unit=" + unit, "--"}
}
