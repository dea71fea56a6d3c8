// Package host queries the machine whose libvirt runs the guests, without using
// libvirt: its processes, files and network. The answers prove fences, so they
// must come from that machine and no other. [Local] is the machine that pgapp
// runs on.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a process of the host.
type Process struct {
	PID int
	// Argv are its arguments, the program first.
	Argv []string
}

// File is an open file of the host.
type File interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// Local is the machine that pgapp runs on.
type Local struct{}

// Processes lists the running processes. A process that ends meanwhile may be
// missing; a process without arguments, such as a kernel thread, is left out.
// Processes returns an error if some processes can't be seen, because a fence is
// proven by a process's absence from the list.
func (Local) Processes(context.Context) ([]Process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(files, "/proc/1/cmdline") {
		return nil, errors.New("/proc doesn't show all processes (is it mounted with hidepid?)")
	}
	var out []Process
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("reading all processes: %w", err)
		}
		if err != nil || len(text) == 0 { // ended meanwhile, or a kernel thread
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f, err)
		}
		out = append(out, Process{PID: pid, Argv: arguments(text)})
	}
	return out, nil
}

// Kill kills the process at once and doesn't wait for its end. Kill does nothing if
// the process has ended, or if its number now belongs to another process.
func (Local) Kill(p Process) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor holds the process, so what is read now is its own.
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cmdline"))
	if err != nil || !slices.Equal(arguments(text), p.Argv) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", p.PID, err)
	}
	return nil
}

// arguments splits what /proc/PID/cmdline holds.
func arguments(text []byte) []string {
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// Run runs a program of the host and returns its output. The error wraps
// exec.ErrNotFound if the program doesn't exist.
func (Local) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, name, args...).Output()
}

// InGroup reports whether the user that Run runs programs as is a member of the
// group, in this session or from the next session on.
func (Local) InGroup(name string) bool {
	g, err := user.LookupGroup(name)
	if err != nil {
		return false
	}
	u, err := user.Current()
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, g.Gid)
}

// Root reports whether Run runs programs as root.
func (Local) Root() bool { return os.Geteuid() == 0 }

// ClockSynchronised reports whether the kernel considers the host's clock
// synchronised.
func (Local) ClockSynchronised() (bool, error) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	const unsynchronised = 5 // TIME_ERROR, adjtimex(2)
	return state != unsynchronised, err
}

// Stat describes a file.
func (Local) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// Open opens a file for reading.
func (Local) Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// FreeBytes returns the free bytes of the file system that contains the first
// existing directory of dirs.
func (Local) FreeBytes(dirs ...string) (uint64, error) {
	err := fs.ErrNotExist
	for _, d := range dirs {
		var st unix.Statfs_t
		if err = unix.Statfs(d, &st); err == nil {
			return st.Bavail * uint64(st.Bsize), nil
		}
	}
	return 0, err
}

// Dial connects to an address as a program on the host would.
func (Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// Listens reports whether another server on the host has bound the address. An
// address that the host doesn't have yet is free.
func (Local) Listens(ctx context.Context, address string) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	_ = l.Close()
	return false
}

// iflaMaster is the attribute of a link that is part of another (linux/if_link.h).
const iflaMaster = 10

// OnNoBridge reports whether the host has the network card and the card belongs
// to no other link, such as a bridge.
func (Local) OnNoBridge(card string) (bool, error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return false, fmt.Errorf("listing network cards: %w", err)
	}
	links, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return false, fmt.Errorf("listing network cards: %w", err)
	}
	for _, l := range links {
		if l.Header.Type != syscall.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&l)
		if err != nil {
			return false, fmt.Errorf("listing network cards: %w", err)
		}
		name, master := "", false
		for _, a := range attrs {
			switch a.Attr.Type {
			case syscall.IFLA_IFNAME:
				name = strings.TrimRight(string(a.Value), "\x00")
			case iflaMaster:
				master = true
			}
		}
		if name == card {
			return !master, nil
		}
	}
	return false, nil
}
