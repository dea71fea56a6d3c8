//go:build integration

package local

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// newServer makes one member with an initialised data directory.
func newServer(t *testing.T, p *Provider) (appliance.Cluster, *machine) {
	t.Helper()
	c := testCluster("node0")
	c.UUID = uuid.NewString() // its cgroup is beside those of other tests
	c.PostgresBin = postgresBin(t)
	c.Members[0].Host = fmt.Sprintf("127.0.%d.1", p.block)
	mustDo(t, p.CreateSteps(c, c.Members))
	t.Cleanup(func() { mustDo(t, p.DestroySteps(c, c.Members)) })
	m := p.machine(c, c.Members[0])
	lay := m.Layout()
	mustRun(t, m, filepath.Join(lay.BinDir, "initdb"), "-D", lay.DataDir, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8")
	conf := fmt.Sprintf("listen_addresses = '%s'\nport = 5432\nunix_socket_directories = '%s'\nfsync = off\nshared_buffers = 16MB\n",
		c.Members[0].Host, lay.SocketDir)
	if err := m.WriteFile(testContext(t), filepath.Join(lay.DataDir, "postgresql.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return c, m
}

func mustRun(t *testing.T, m *machine, argv ...string) string {
	t.Helper()
	res, err := m.Run(testContext(t), appliance.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

func (m *machine) mustStart(t *testing.T) proc {
	t.Helper()
	if err := m.StartServer(testContext(t)); err != nil {
		t.Fatalf("StartServer: %v\n%s", err, appliance.AsProblem(err).Detail)
	}
	pm, ok, err := m.postmaster()
	if err != nil || !ok {
		t.Fatalf("no postmaster: %v", err)
	}
	return pm
}

func (m *machine) mustStop(t *testing.T) {
	t.Helper()
	if err := m.StopServer(testContext(t), appliance.StopFast); err != nil {
		t.Fatal(err)
	}
}

func TestServerIsDetached(t *testing.T) {
	t.Parallel()
	inherit, err := os.Open("/etc/hostname")
	if err != nil {
		t.Skipf("SKIPPED: it needs a file that anybody can read: %v", err)
	}
	defer func() { _ = inherit.Close() }()
	p := newTestProvider(t, "home")
	_, m := newServer(t, p)
	pm := m.mustStart(t)

	fds, err := filepath.Glob(pm.path("fd/*"))
	if err != nil || len(fds) < 3 {
		t.Fatalf("the postmaster's files: %q, %v", fds, err)
	}
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); target == "/etc/hostname" || strings.HasSuffix(target, ".test") {
			t.Errorf("the server has our file %s", target)
		}
	}
	for fd, want := range map[string]string{"0": os.DevNull, "1": m.Layout().LogFile, "2": m.Layout().LogFile} {
		if got, _ := os.Readlink(pm.path("fd/" + fd)); got != want {
			t.Errorf("descriptor %s is %q, want %q", fd, got, want)
		}
	}
	if sid, err := syscall.Getpgid(pm.pid); err != nil || sid != pm.pid {
		t.Errorf("the postmaster is in group %d, want its own, %d", sid, pm.pid)
	}
	st, err := os.Stat(m.Layout().LogFile)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the log: %v, %v", st.Mode(), err)
	}
	if p.cgroups.usable() {
		if got := filepath.Base(p.cgroups.ofProc(pm)); got != m.tag() {
			t.Errorf("the postmaster is in cgroup %q, want %q", got, m.tag())
		}
	}
}

// TestServerSurvivesDaemonDeath kills the process that started the server.
func TestServerSurvivesDaemonDeath(t *testing.T) {
	t.Parallel()
	p := newTestProvider(t, "home")
	_, m := newServer(t, p)
	daemon := exec.CommandContext(testContext(t), "/proc/self/exe")
	daemon.Env = append(os.Environ(), daemonEnv+"="+p.home, "PGAPP_TEST_DAEMON_UUID="+m.uuid, "PGAPP_TEST_DAEMON_BIN="+m.binDir)
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if err := syscall.Kill(-daemon.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	if line != "started\n" {
		t.Fatalf("the daemon said %q", line)
	}
	if running, err := m.ServerRunning(testContext(t)); err != nil || !running {
		t.Fatalf("after the daemon's death: ServerRunning() = %v, %v", running, err)
	}
	pm, _, err := m.postmaster()
	if err != nil {
		t.Fatal(err)
	}
	await := watching(t, m)
	await("running: process " + itoa(pm.pid))
	if again := m.mustStart(t); again != pm {
		t.Errorf("StartServer on a running server: process %d, then %d", pm.pid, again.pid)
	}
	m.mustStop(t)
	await("gone")
	if pm.alive() {
		t.Error("the server that another process started was not stopped")
	}
}

// TestStartAfterCrash meets what a postmaster's death leaves: a backend that
// goes on, and a pid file.
func TestStartAfterCrash(t *testing.T) {
	t.Parallel()
	_, m := newServer(t, newTestProvider(t, "home"))
	pm := m.mustStart(t)
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan struct{})
	lay := m.Layout()
	psql := func(ctx context.Context, sql string) (string, error) {
		res, err := m.Run(ctx, appliance.Command{Argv: []string{
			filepath.Join(lay.BinDir, "psql"), "-XAtq", "-h", lay.SocketDir, "-U", "postgres", "-c", sql,
		}})
		return strings.TrimSpace(string(res.Stdout)), err
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_, _ = psql(ctx, "DO $$ BEGIN LOOP END LOOP; END $$")
		}
	}()
	defer func() { cancel(); <-ended }()
	if err := wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		n, _ := psql(ctx, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'")
		return n == "1", nil
	}); err != nil {
		t.Fatal(err)
	}
	terr, err := m.territory("data")
	if err != nil {
		t.Fatal(err)
	}
	if err := pm.kill(syscall.SIGKILL, terr.holds); err != nil {
		t.Fatal(err)
	}
	if err := wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) { return !pm.alive(), nil }); err != nil {
		t.Fatal(err)
	}
	if left, _, err := terr.scan(); err != nil || len(left) == 0 {
		t.Fatalf("no backend outlived its postmaster: %v", err)
	}
	if running, err := m.ServerRunning(ctx); err != nil || running {
		t.Errorf("without a postmaster: ServerRunning() = %v, %v", running, err)
	}
	m.mustStart(t)
	m.mustStop(t)
}

// TestStartBesideStaleNumber gives the pid file the number of a process of
// the same user, as a reboot may do.
func TestStartBesideStaleNumber(t *testing.T) {
	t.Parallel()
	_, m := newServer(t, newTestProvider(t, "home"))
	m.mustStart(t)
	ctx, cancel := context.WithCancel(testContext(t))
	pidFile := filepath.Join(m.Layout().DataDir, "postmaster.pid")
	content, err := m.ReadFile(ctx, pidFile)
	if err != nil {
		t.Fatal(err)
	}
	m.mustStop(t)
	out, err := os.CreateTemp(t.TempDir(), "pid")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = m.Run(ctx, appliance.Command{Argv: []string{"sh", "-c", "cd / && echo $$ && exec sleep 1000"}, Stdout: out})
	}()
	defer func() { cancel(); <-ended }()
	var pid []byte
	if err := wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) {
		pid, _ = os.ReadFile(out.Name())
		return len(pid) > 1, nil
	}); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n")
	if err := m.WriteFile(ctx, pidFile, append(pid, rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	// The lock beside the socket holds the number, too.
	lock := filepath.Join(m.Layout().SocketDir, ".s.PGSQL.5432.lock")
	if err := m.WriteFile(ctx, lock, append(pid, rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	if running, err := m.ServerRunning(ctx); err != nil || running {
		t.Errorf("with a stale pid file: ServerRunning() = %v, %v", running, err)
	}
	m.mustStart(t)
	m.mustStop(t)
}

func TestStartProblems(t *testing.T) {
	t.Parallel()
	p := newTestProvider(t, "home")
	c, m := newServer(t, p)
	var lc net.ListenConfig
	l, err := lc.Listen(testContext(t), "tcp", net.JoinHostPort(c.Members[0].Host, "5432"))
	if err != nil {
		t.Fatal(err)
	}
	err = m.StartServer(testContext(t))
	if !appliance.IsProblem(err, appliance.ErrHostPortTaken) || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("a taken port: %v, want %s", err, appliance.ErrHostPortTaken)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m.mustStart(t)
	m.mustStop(t)

	gone := *m
	gone.binDir = "/nonexistent"
	if err := gone.StartServer(testContext(t)); !appliance.IsProblem(err, appliance.ErrPostgresMissing) {
		t.Errorf("without programs: %v, want %s", err, appliance.ErrPostgresMissing)
	}
	if p.account.self {
		return
	}
	closed := *m
	closed.binDir = filepath.Join(t.TempDir(), "bin") // 0700 above
	if err := os.Symlink(m.binDir, closed.binDir); err != nil {
		t.Fatal(err)
	}
	if err := closed.StartServer(testContext(t)); !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Errorf("programs that %s can't reach: %v, want %s", p.account.name, err, appliance.ErrHostPermission)
	}
}

func TestCreateStepsRefuseClosedParent(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root gives members another user")
	}
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(parent, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	p := New(Config{Home: home})
	c := testCluster("node0")
	err := do(t, p.CreateSteps(c, c.Members))
	if !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Fatalf("got %v, want %s", err, appliance.ErrHostPermission)
	}
	if hint := appliance.AsProblem(err).Hint; !strings.Contains(hint, "chmod o+x") {
		t.Errorf("the hint is %q", hint)
	}
	if exists(p.clustersDir()) {
		t.Error("something was made in a home that can't be used")
	}
}

// TestOwnAccount makes and removes a system user, as on a machine that has
// no user postgres.
func TestOwnAccount(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can make users")
	}
	prefix, none := "pgapptest"+itoa(os.Getpid())+"-", "no-such-user-of-pgapp"
	p, neighbour := newTestProvider(t, "home"), newTestProvider(t, "neighbour")
	for _, p := range []*Provider{p, neighbour} {
		p.account = chooseAccount(0, p.home, prefix, none)
		if !p.account.own || !strings.HasPrefix(p.account.name, prefix) {
			t.Fatalf("chosen: %+v", p.account)
		}
	}
	name := p.account.name
	func() {
		c, m := newServer(t, p)
		pm := m.mustStart(t)
		i, err := p.account.lookup()
		if err != nil {
			t.Fatal(err)
		}
		if uid, ok := pm.uid(); !ok || uid != i.uid || uid == 0 {
			t.Errorf("the server runs as %d, want %d", uid, i.uid)
		}
		if again := chooseAccount(0, p.home, prefix, "root"); again.name != name || !again.own {
			t.Errorf("with another account at hand %+v is chosen, want the cluster's", again)
		}
		moved := filepath.Join(t.TempDir(), "moved")
		if err := os.Symlink(p.home, moved); err != nil {
			t.Fatal(err)
		}
		if again := chooseAccount(0, moved, prefix, none); again.name != name || again.made() {
			t.Errorf("at another path %+v is chosen, want the members' own", again)
		}
		if other := chooseAccount(0, "/another/home", prefix, "daemon"); other.name != "daemon" {
			t.Errorf("another home takes %q", other.name)
		}
		// The other home's first and last cluster come and go beside this one's.
		other := testCluster("node0")
		mustDo(t, neighbour.CreateSteps(other, other.Members))
		mustDo(t, neighbour.DestroySteps(other, other.Members))
		if !p.account.exists() || neighbour.account.exists() {
			t.Error("the homes share an account")
		}
		mustDo(t, p.DestroySteps(c, c.Members))
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) { _, err := user.Lookup(name); return err != nil, nil }); err != nil {
		t.Error("the account is left")
	}
}
