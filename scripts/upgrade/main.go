// Command upgrade proves that a program takes over a home that an older one
// made. For each kind of operation the old program brings up a cluster (four
// servers of PostgreSQL, Pagila), begins the operation, and its daemon is ended
// by kill -9 in the middle. Then the new program has to end the operation, with
// all rows in place, and without a restart of a server that the operation
// doesn't touch. It runs in a network namespace of its own; CASE chooses cases.
//
//	go run ./scripts/upgrade OLD_BINARY NEW_BINARY [CASE]...
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// inside marks the process in the network namespace.
const inside = "PGAPP_UPGRADE_INSIDE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: upgrade OLD_BINARY NEW_BINARY [CASE]...")
		os.Exit(2)
	}
	run := enter
	if os.Getenv(inside) != "" {
		run = all
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(1)
	}
}

// enter runs this program again in a network namespace of its own.
func enter(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{12} // CAP_NET_ADMIN, for the loopback
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}

func all(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("setting up the loopback: %w: %s", err, out)
	}
	oldBinary, err := filepath.Abs(os.Args[1])
	if err != nil {
		return err
	}
	newBinary, err := filepath.Abs(os.Args[2])
	if err != nil {
		return err
	}
	top, err := os.MkdirTemp("/var/tmp", "pgapp-upgrade.")
	if err != nil {
		return err
	}
	if err := os.Chmod(top, 0o711); err != nil { //nolint:gosec // the servers' user passes through
		return err
	}
	var failed []string
	for i, c := range cases() {
		if names := os.Args[3:]; ctx.Err() != nil || len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		h := &home{dir: filepath.Join(top, fmt.Sprint(i)), old: oldBinary, new: newBinary}
		if err := h.try(ctx, c); err != nil {
			fmt.Printf("FAILED  %-28s %v\n", c.name, err)
			failed = append(failed, c.name)
		} else {
			fmt.Printf("ok      %-28s %s\n", c.name, h.told)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s; the homes are in %s", strings.Join(failed, ", "), top)
	}
	return errors.Join(ctx.Err(), os.RemoveAll(top))
}
