//go:build integration

package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// isolatedEnv names the directory for homes in a process that has network and
// mounts of its own.
const isolatedEnv = "PGAPP_TEST_ISOLATED"

// homesSize bounds the memory that clusters of tests take.
const homesSize = "size=6g,mode=0711"

// runTests gives the tests, as root, a network and mounts of their own: the
// addresses of their clusters meet nobody else's, homes lie in memory, and
// what they mount goes with them. Elsewhere they run as they are.
func runTests(m *testing.M) int {
	if dir := os.Getenv(isolatedEnv); dir != "" {
		if err := furnish(dir); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the tests' own namespaces:", err)
			return 1
		}
		return m.Run()
	}
	if os.Geteuid() == 0 {
		code, err := again()
		if err == nil {
			return code
		}
		fmt.Fprintln(os.Stderr, "WARNING: the tests share network and mounts with this machine:", err)
	}
	return m.Run()
}

// again runs this test binary in namespaces of its own.
func again() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("/var/tmp", "pgapp-it-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir)
	cmd := exec.CommandContext(context.Background(), self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = cmd.Wait() // its exit code says it all
	return max(cmd.ProcessState.ExitCode(), -1) & 0xff, nil
}

// furnish brings up the loopback device and mounts a file system in memory.
func furnish(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("pgapp-test", dir, "tmpfs", 0, homesSize); err != nil {
		return fmt.Errorf("mounting memory: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bringing up the loopback device: %w", err)
	}
	return nil
}

// isolated tells whether this process has namespaces of its own.
func isolated() bool { return os.Getenv(isolatedEnv) != "" }

// homesDir is where the tests' homes are made.
func homesDir() string {
	if dir := os.Getenv(isolatedEnv); dir != "" {
		return dir
	}
	return filepath.Join("/var", "tmp")
}
