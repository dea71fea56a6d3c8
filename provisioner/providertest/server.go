package providertest

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"pgapp/appliance"
)

// server drives one member's PostgreSQL through its machine.
type server struct {
	t  *testing.T
	f  Fixture
	c  appliance.Cluster
	m  appliance.Member
	mc appliance.Machine
}

func (s server) on(t *testing.T) server { s.t = t; return s }

func (s server) program(name string) string { return path.Join(s.mc.Layout().BinDir, name) }

// init creates a small cluster that trusts all local connections.
func (s server) init() {
	s.t.Helper()
	lay := s.mc.Layout()
	_, err := s.mc.Run(s.f.context(s.t), appliance.Command{Argv: []string{
		s.program("initdb"), "-D", lay.DataDir, "-U", "postgres", "-A", "trust", "-k", s.durable("--sync-method=syncfs", "--no-sync"),
		"--encoding=UTF8", "--locale=C.UTF-8",
	}})
	if err != nil {
		s.t.Fatalf("initdb: %v", err)
	}
	s.configure("")
}

func (s server) configure(more string) {
	s.t.Helper()
	lay := s.mc.Layout()
	conf := fmt.Sprintf("listen_addresses = '%s'\nport = %d\nunix_socket_directories = '%s'\n"+
		"fsync = %s\nshared_buffers = 16MB\nmax_connections = 20\n%s\n", s.m.Host, s.m.Port, lay.SocketDir, s.durable("on", "off"), more)
	if err := s.mc.WriteFile(s.f.context(s.t), path.Join(lay.DataDir, "postgresql.conf"), []byte(conf), 0o600); err != nil {
		s.t.Fatalf("writing postgresql.conf: %v", err)
	}
}

// durable returns on if a fence cuts the power, else off. A power cut loses all
// unsynced data, including postmaster.pid.
func (s server) durable(on, off string) string {
	if s.f.OwnMachines {
		return on
	}
	return off
}

func (s server) psql(sql string) appliance.Command {
	return appliance.Command{Argv: []string{
		s.program("psql"), "-X", "-A", "-t", "-q", "-w", "-h", s.mc.Layout().SocketDir, "-p", fmt.Sprint(s.m.Port),
		"-U", "postgres", "-d", "postgres", "-c", sql,
	}}
}

func (s server) sql(sql string) string {
	s.t.Helper()
	res, err := s.mc.Run(s.f.context(s.t), s.psql(sql))
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

// start starts the server twice, to check that a repeat does nothing, and waits
// until the server accepts sessions.
func (s server) start() {
	s.t.Helper()
	for range 2 {
		if err := s.mc.StartServer(s.f.context(s.t)); err != nil {
			s.t.Fatalf("StartServer: %v", err)
		}
	}
	s.running(true)
	s.f.eventually(s.t, "sessions", func() bool {
		_, err := s.mc.Run(s.f.context(s.t), s.psql("SELECT 1"))
		return err == nil
	})
}

// stop stops the server twice, to check that a repeat does nothing.
func (s server) stop(mode appliance.StopMode) {
	s.t.Helper()
	for range 2 {
		if err := s.mc.StopServer(s.f.context(s.t), mode); err != nil {
			s.t.Fatalf("StopServer(%s): %v", mode, err)
		}
	}
	s.running(false)
	s.noProcess()
}

func (s server) running(want bool) {
	s.t.Helper()
	if got, err := s.mc.ServerRunning(s.f.context(s.t)); err != nil || got != want {
		s.t.Fatalf("ServerRunning() = %v, %v, want %v", got, err, want)
	}
}

// inDataDir is a script that lists the processes working in the data directory:
// the postmaster and all its children.
const inDataDir = `find /proc -mindepth 2 -maxdepth 2 -name cwd -lname "$(readlink -f "$1")" -printf "%h\n" 2>/dev/null; true`

func (s server) processes() []string {
	s.t.Helper()
	return strings.Fields(strings.ReplaceAll(s.f.shell(s.t, s.mc, inDataDir, s.mc.Layout().DataDir), "/proc/", ""))
}

func (s server) noProcess() {
	s.t.Helper()
	if left := s.processes(); len(left) > 0 {
		s.t.Fatalf("processes left in the data directory: %v", left)
	}
}

func (s server) postmaster() string {
	s.t.Helper()
	data, err := s.mc.ReadFile(s.f.context(s.t), path.Join(s.mc.Layout().DataDir, "postmaster.pid"))
	if err != nil {
		s.t.Fatalf("reading postmaster.pid: %v", err)
	}
	pid, _, _ := strings.Cut(string(data), "\n")
	return pid
}

// busy opens a session whose backend keeps working and doesn't notice the death of
// its postmaster.
func (s server) busy() (wait func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.f.context(s.t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.mc.Run(ctx, s.psql("DO $$ BEGIN LOOP END LOOP; END $$"))
	}()
	s.f.eventually(s.t, "a busy backend", func() bool {
		return s.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'") == "1"
	})
	return func() { cancel(); <-done }
}

func testServer(t *testing.T, f Fixture, c appliance.Cluster, m appliance.Member) {
	mc := f.Provider.Machine(c, m)
	s := server{t: t, f: f, c: c, m: m, mc: mc}
	s.init()
	s.running(false)
	for _, mode := range []appliance.StopMode{appliance.StopFast, appliance.StopImmediate} {
		t.Run("stop "+string(mode), func(t *testing.T) {
			s := s.on(t)
			s.start()
			wait := s.busy()
			defer wait()
			s.stop(mode)
		})
	}
	t.Run("a server that can't start", func(t *testing.T) {
		s := s.on(t)
		s.configure("no_such_parameter = 1")
		defer s.configure("")
		err := mc.StartServer(f.context(t))
		if !appliance.IsProblem(err, appliance.ErrPostgresStart) {
			t.Fatalf("StartServer: %v, want %s", err, appliance.ErrPostgresStart)
		}
		if p := appliance.AsProblem(err); !strings.Contains(p.Detail, "no_such_parameter") || p.Hint == "" {
			t.Errorf("the problem doesn't show the log, or lacks a hint: %+v", p)
		}
		s.running(false)
	})
	t.Run("a stop that hangs", func(t *testing.T) { s.on(t).testHangingStop() })
	t.Run("fence", func(t *testing.T) { s.on(t).testFence() })
}

// testHangingStop freezes a backend, so that the shutdown waits for it.
func (s server) testHangingStop() {
	s.start()
	wait := s.busy()
	defer wait()
	backend := s.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'")
	s.f.shell(s.t, s.mc, `kill -STOP "$1"`, backend)
	ctx, cancel := context.WithTimeout(s.f.context(s.t), s.f.soon()/3)
	defer cancel()
	if err := s.mc.StopServer(ctx, appliance.StopFast); !appliance.IsProblem(err, appliance.ErrPostgresStop) {
		s.t.Errorf("StopServer with a frozen backend: %v, want %s", err, appliance.ErrPostgresStop)
	}
	s.running(true)
	s.f.shell(s.t, s.mc, `kill -CONT "$1"`, backend)
	s.f.eventually(s.t, "the end of the shutdown", func() bool {
		running, err := s.mc.ServerRunning(s.f.context(s.t))
		return err == nil && !running
	})
	s.stop(appliance.StopFast)
}

// testFence fences servers in states in which an ordinary stop fails.
func (s server) testFence() {
	for _, c := range []struct{ name, wreck string }{
		{"a healthy server", `true`},
		{"a frozen postmaster", `kill -STOP "$1"`},
		{"a dead postmaster whose backend goes on", `kill -KILL "$1"; while [ -e /proc/$1/exe ]; do sleep 0.02; done`},
		{"all processes frozen", `shift; kill -STOP "$@" || true`},
	} {
		s.t.Run(c.name, func(t *testing.T) {
			s := s.on(t)
			s.start()
			wait := s.busy()
			defer wait()
			before := s.processes()
			s.f.shell(t, s.mc, c.wreck, append([]string{s.postmaster()}, before...)...)
			if left := s.processes(); len(left) == 0 && !s.f.OwnMachines || len(before) < 3 {
				t.Fatalf("nothing to fence: %v before, %v after", before, left)
			}
			for range 2 {
				if err := s.mc.Fence(s.f.context(t)); err != nil {
					t.Fatalf("Fence: %v", err)
				}
			}
			s.running(false)
			if s.f.OwnMachines {
				if err := s.f.Provider.StartMachine(s.f.context(t), s.c, s.m, ignore); err != nil {
					t.Fatalf("StartMachine after a fence: %v", err)
				}
				s.running(false)
			}
			s.noProcess()
		})
	}
	s.start()
	if got := s.sql("SELECT 1"); got != "1" {
		s.t.Errorf("after the fences: got %q", got)
	}
	s.stop(appliance.StopFast)
}
