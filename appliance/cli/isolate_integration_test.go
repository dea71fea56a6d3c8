//go:build integration

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// isolatedEnv names the directory for homes in a process that has network and
// mounts of its own.
const isolatedEnv = "PGAPP_TEST_ISOLATED"

// homesSize bounds the memory that clusters of tests take.
const homesSize = "size=6g,mode=0711"

// runTests gives the tests, as root, a network, mounts and shared memory of
// their own: the addresses of their clusters meet nobody else's, homes lie in
// memory, and what they mount goes with them. Elsewhere they run as they are.
func runTests(m *testing.M) int {
	if dir := os.Getenv(isolatedEnv); dir != "" {
		if err := furnish(dir); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the tests' own namespaces:", err)
			return 1
		}
		w := watchMemory()
		code := m.Run()
		if left := w.left(); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: servers that are gone left %d segments of shared memory: %q\n", len(left), left)
			code = max(code, 1)
		}
		return code
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid))
	if err != nil {
		return 0, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	_ = cmd.Wait() // its exit code says it all
	sweep(mounts)
	return max(cmd.ProcessState.ExitCode(), -1) & 0xff, nil
}

// sweep ends every process that has those mounts: what the tests started and
// could not end, since they were ended themselves.
func sweep(mounts string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns", "mnt")); err == nil && ns == mounts {
			fmt.Fprintf(os.Stderr, "ending process %d, which the tests left\n", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// furnish mounts a file system in memory and brings up the loopback device.
func furnish(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("pgapp-test", dir, "tmpfs", 0, homesSize); err != nil {
		return fmt.Errorf("mounting memory: %w", err)
	}
	if err := unix.Mount("pgapp-test", shmDir, "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mounting shared memory: %w", err)
	}
	return loopbackUp()
}

// shmDir is where POSIX shared memory is.
const shmDir = "/dev/shm"

// memoryWatch remembers where the servers ran that made shared memory.
type memoryWatch struct {
	stop, ended chan struct{}
	makers      map[string]string
}

func watchMemory() *memoryWatch {
	w := &memoryWatch{stop: make(chan struct{}), ended: make(chan struct{}), makers: map[string]string{}}
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			for id, pid := range segments() {
				if dir, err := os.Readlink(filepath.Join("/proc", pid, "cwd")); err == nil && w.makers[id] == "" {
					args, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
					w.makers[id] = dir + ": " + strings.ReplaceAll(string(args), "\x00", " ")
				}
			}
			select {
			case <-tick.C:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

// left lists the shared memory, of either kind, that is there when no server
// is, and who made it.
func (w *memoryWatch) left() []string {
	close(w.stop)
	<-w.ended
	left, _ := filepath.Glob(filepath.Join(shmDir, "PostgreSQL.*"))
	for id := range segments() {
		left = append(left, "System V "+id+" of "+w.makers[id])
	}
	return left
}

// segments are the System V segments, and the processes that made them.
func segments() map[string]string {
	const idField, makerField = 1, 4
	out := map[string]string{}
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return out
	}
	_, rows, _ := strings.Cut(strings.TrimSpace(string(table)), "\n") // the first line is a heading
	for row := range strings.Lines(rows) {
		f := strings.Fields(row)
		out[f[idField]] = f[makerField]
	}
	return out
}

// loopbackUp brings up the loopback device of this thread's network.
func loopbackUp() error {
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

// network is a network of one box: its clusters have the machine to themselves.
type network struct{ file *os.File }

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network: %w", err)
		}
		var err error
		if n.file, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
			return err
		}
		return loopbackUp()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.file.Close() })
	return n
}

// path is where other processes find the network.
func (n *network) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// in runs f, which may not start goroutines, in the network.
func (n *network) in(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, whatever f made of it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	return <-done
}

// Where boxes share the machine's addresses, one test at a time has them: a
// stopped cluster's would be taken by another home's meanwhile.
var (
	turnMu    sync.Mutex
	turnEnded = sync.NewCond(&turnMu)
	turnOf    string
	turnBoxes int
)

// takeTurn waits until no other test has a box.
func takeTurn(t *testing.T) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	turnMu.Lock()
	defer turnMu.Unlock()
	for turnBoxes > 0 && turnOf != test {
		turnEnded.Wait()
	}
	turnOf = test
	turnBoxes++
	t.Cleanup(func() {
		turnMu.Lock()
		defer turnMu.Unlock()
		turnBoxes--
		turnEnded.Broadcast()
	})
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
