//go:build integration

package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// session is a command on a terminal of its own.
type session struct {
	t     *testing.T
	cmd   *exec.Cmd
	tty   *os.File
	mu    sync.Mutex
	shown strings.Builder
	ended chan struct{}
}

// onTerminal starts the command on a new terminal, which it gets as its
// controlling one.
func onTerminal(t *testing.T, cmd *exec.Cmd, columns uint16) *session {
	t.Helper()
	tty, slave, err := openTerminal(columns)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	s := &session{t: t, cmd: cmd, tty: tty, ended: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.shown.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return // EIO once nobody has the terminal open
			}
		}
	}()
	go func() {
		_ = cmd.Wait() // its state says how it ended
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
		_ = tty.Close()
		<-read
	})
	return s
}

// openTerminal makes a pair of terminal ends (pts(4)).
func openTerminal(columns uint16) (tty, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	n, nErr := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(nErr, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	tty = os.NewFile(uintptr(fd), "ptmx")
	if err != nil {
		return nil, nil, errors.Join(err, tty.Close())
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return tty, slave, err
}

func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// see waits until the terminal has shown the text so many times.
func (s *session) see(times int, text string) {
	s.t.Helper()
	s.until(fmt.Sprintf("%q shown %d times", text, times), func() bool { return strings.Count(s.text(), text) >= times })
}

func (s *session) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(commandTimeout); !ok(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("no %s; the terminal shows:\n%s", what, s.text())
		}
	}
}

func (s *session) enter(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatalf("%v; the terminal shows:\n%s", err, s.text())
	}
}

// end waits for the end and returns the exit code.
func (s *session) end() int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(commandTimeout):
		s.t.Fatalf("the command does not end; the terminal shows:\n%s", s.text())
	}
	return s.cmd.ProcessState.ExitCode()
}
