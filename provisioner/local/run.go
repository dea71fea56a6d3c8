package local

import (
	"bytes"
	"context"
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

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// searchPath is the PATH of all programs that pgapp runs for a member.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// outputGrace bounds reading the remaining output of a command that has ended.
const outputGrace = 10 * time.Second

// Run runs the command as the member's user in a session of its own and, if
// possible, in a cgroup of its own. When the command or ctx ends, Run kills all
// processes that the command left behind.
func (m *machine) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	if len(c.Argv) == 0 {
		return appliance.Result{}, appliance.NewProblem(appliance.ErrInternal, "a command without a name for member %s", m.member)
	}
	if own, err := m.owned(); err != nil {
		return appliance.Result{}, err
	} else if own == foreign {
		return appliance.Result{}, foreignProblem(m.dir, m.cluster)
	}
	name := filepath.Base(c.Argv[0])
	path, err := lookPath(c.Argv[0])
	if err != nil {
		return appliance.Result{}, fmt.Errorf("running %q: %w", name, err)
	}
	var stdout bytes.Buffer
	stderr := &stderrWriter{onLine: c.OnStderr}
	start := func(g *cgroup) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, path, c.Argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.Stdin, c.Stdout, stderr, outputGrace
		if c.Stdout == nil {
			cmd.Stdout = &stdout
		}
		return cmd, m.startProcess(cmd, c.Env, g)
	}
	cmd, g, err := m.startCommand(start)
	if err != nil {
		return appliance.Result{}, fmt.Errorf("running %q: %w", name, err)
	}
	err = finish(ctx, cmd, g)
	stderr.flush()
	res := appliance.Result{Stdout: stdout.Bytes(), Stderr: stderr.tail(), ExitCode: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		// A killed server of initdb leaves shared memory. Waiting for attached
		// processes is useless: the member's own server may be running.
		return res, errors.Join(fmt.Errorf("running %q: %w", name, ctx.Err()), m.freeSharedMemory(ctx, pollInterval))
	case errors.As(err, &exit):
		return res, fmt.Errorf("running %q: %w", name,
			&appliance.ExitError{Name: name, Code: res.ExitCode, Stderr: string(res.Stderr)})
	}
	return res, fmt.Errorf("running %q: %w", name, err)
}

// startCommand starts the command in a cgroup below the member's, or without a
// cgroup if this machine can't. In a frozen cgroup nothing is started: the kernel would
// freeze the new process before it is the command, and the thread that waits for that
// holds up all of this program.
func (m *machine) startCommand(start func(*cgroup) (*exec.Cmd, error)) (*exec.Cmd, *cgroup, error) {
	for _, g := range m.p.cgroups.existing(m.tag()) {
		if g.frozen() {
			return nil, nil, appliance.NewProblem(appliance.ErrMemberUnreachable, "member %s is frozen: its cgroup is %s", m.member, g.dir).
				WithHint("thaw it: echo 0 > %s", filepath.Join(g.dir, "cgroup.freeze"))
		}
	}
	if g, ok := m.commandCgroup(); ok {
		cmd, err := start(&g)
		if err == nil {
			return cmd, &g, nil
		}
		_ = g.remove()
		if !refusedCgroup(err) {
			return nil, nil, err
		}
	}
	cmd, err := start(nil)
	return cmd, nil, err
}

func (m *machine) commandCgroup() (cgroup, bool) {
	if own, err := m.owned(); err != nil || own != ours {
		return cgroup{}, false
	}
	parent, ok := m.p.cgroups.ensure(m.tag())
	if !ok {
		return cgroup{}, false
	}
	dir, err := os.MkdirTemp(parent.dir, "run-")
	return cgroup{dir}, err == nil
}

// startProcess starts cmd as the member's user, in a clean environment and a
// session of its own. A fence finds the process by its working directory.
func (m *machine) startProcess(cmd *exec.Cmd, env map[string]string, g *cgroup) error {
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	cmd.Env = append([]string{"LC_ALL=C", "PATH=" + searchPath, "HOME=" + m.dir, "USER=" + m.p.account.name}, m.env...)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if cmd.Dir == "" {
		cmd.Dir = m.dir
		if own, err := m.owned(); err != nil || own != ours {
			cmd.Dir = "/"
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: m.p.account.credential(i)}
	cmd.Cancel = func() error { return killSession(cmd.Process.Pid, g) }
	if g == nil {
		return cmd.Start()
	}
	f, err := g.open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	return cmd.Start()
}

// finish waits for the command and kills the processes that the command left
// behind. finish reaps the command last, so that its number, which is also the
// number of its process group, isn't reused before.
func finish(ctx context.Context, cmd *exec.Cmd, g *cgroup) error {
	pid := cmd.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	killErr := killSession(pid, g)
	err := cmd.Wait()
	if g != nil {
		// ctx may have ended, and the cgroup takes a moment to become empty.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), outputGrace)
		defer cancel()
		if endErr := g.end(bounded); endErr != nil && err == nil {
			err = fmt.Errorf("ending what the command left: %w", endErr)
		}
	}
	if err == nil {
		err = killErr
	}
	return err
}

// killSession kills the command's process group and, if any, its cgroup.
func killSession(pid int, g *cgroup) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	if g == nil {
		return err
	}
	if busy, popErr := g.populated(); popErr == nil && !busy {
		return err
	}
	return errors.Join(err, g.kill())
}

// lookPath finds a program in searchPath, not in the daemon's PATH.
func lookPath(name string) (string, error) {
	if strings.ContainsRune(name, '/') {
		if !filepath.IsAbs(name) {
			return "", fmt.Errorf("%q is neither a name nor an absolute path", name)
		}
		return name, nil
	}
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s: %w", strconv.Quote(name), fs.ErrNotExist)
}
