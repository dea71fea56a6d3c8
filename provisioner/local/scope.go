package local

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// scopeProbe bounds the check for a user manager.
const scopeProbe = 5 * time.Second

// inScope wraps the command so that the user's systemd starts it in a scope, if
// an ordinary user can't create cgroups: the kernel refuses to move a process out
// of a login session later. systemd-run --scope execs the command, so the
// process stays pgapp's child. Otherwise inScope returns argv unchanged.
func (c cgroups) inScope(ctx context.Context, tag string, g *cgroup, argv []string) []string {
	if g != nil || !c.hasUserManager(ctx) {
		return argv
	}
	return append(scopeCommand(tag), argv...)
}

func scopeCommand(tag string) []string {
	return []string{
		"/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect", "--unit=" + tag,
		"--property=Delegate=yes", "--",
	}
}

// scopeEnv returns the environment in which systemd-run finds the user manager.
func (c cgroups) scopeEnv(g *cgroup) map[string]string {
	if g != nil || c.euid == 0 {
		return nil
	}
	return map[string]string{"XDG_RUNTIME_DIR": runtimeDir(c.euid)}
}

func runtimeDir(uid int) string { return filepath.Join("/run/user", strconv.Itoa(uid)) }

func (c cgroups) hasUserManager(ctx context.Context) bool {
	if c.euid == 0 || c.mount == "" {
		return false
	}
	if _, err := os.Stat(filepath.Join(runtimeDir(c.euid), "systemd", "private")); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, scopeProbe)
	defer cancel()
	argv := scopeCommand("pgapp-probe-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36))
	probe := exec.CommandContext(ctx, argv[0], append(argv[1:], "/bin/true")...)
	probe.Env = []string{"XDG_RUNTIME_DIR=" + runtimeDir(c.euid), "PATH=" + searchPath}
	return probe.Run() == nil
}
