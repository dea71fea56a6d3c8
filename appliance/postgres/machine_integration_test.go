//go:build integration

package postgres_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/scripts/pacetest"
)

// binDir finds PostgreSQL 17 or fails: a skipped test would prove nothing.
func binDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PGAPP_TEST_PGBIN")
	if dir == "" {
		dir = "/usr/lib/postgresql/17/bin"
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres")); err != nil {
		t.Fatalf("no PostgreSQL 17: set PGAPP_TEST_PGBIN to its programs' directory (%v)", err)
	}
	return dir
}

// machine is a Shell on this machine, as an ordinary user where the test runs as
// root, since PostgreSQL refuses root.
type machine struct {
	layout appliance.Layout
	cred   *syscall.Credential
	host   string
	port   int
	// server is the running one, ended is closed when it has ended.
	server *os.Process
	ended  chan struct{}
	// tap, where it is set, may change a command, and learns its process id.
	tap func(argv []string) ([]string, func(pid int))
	// orphan has a cancelled command leave its children, as a kill -9 does.
	orphan bool

	mu sync.Mutex
	// ran has every argument and variable that a command got.
	ran []string
}

func newMachine(t *testing.T, host string) *machine {
	t.Helper()
	pacetest.Enter(t)
	// Not t.TempDir: a socket's path is 107 bytes long at most.
	root, err := os.MkdirTemp("", "pgt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	m := &machine{host: host, port: freePort(t, host)}
	m.layout = appliance.Layout{
		BinDir: binDir(t), DataDir: root + "/data", SocketDir: root + "/sock", LogFile: root + "/log", ConfDir: root + "/conf",
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	m.layout.ControlUser = u.Username
	if u.Uid == "0" {
		if u, err = user.Lookup("postgres"); err != nil {
			u, err = user.Lookup("nobody")
		}
		if err != nil {
			t.Fatalf("as root these tests need a user postgres or nobody: %v", err)
		}
		m.cred = credential(t, u)
	}
	m.layout.OSUser = u.Username
	for _, d := range []string{root, m.layout.SocketDir, m.layout.ConfDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		m.chown(t, d)
	}
	return m
}

func credential(t *testing.T, u *user.User) *syscall.Credential {
	t.Helper()
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (m *machine) chown(t *testing.T, name string) {
	t.Helper()
	if m.cred == nil {
		return
	}
	if err := os.Chown(name, int(m.cred.Uid), int(m.cred.Gid)); err != nil {
		t.Fatal(err)
	}
}

var ports atomic.Int32

// freePort is below the range that the kernel gives away by itself, where
// anybody could get it before the server does.
func freePort(t *testing.T, host string) int {
	t.Helper()
	const first, many = 20000, 12000
	for range many {
		port := first + (os.Getpid()*100+int(ports.Add(1)))%many
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			must(t, l.Close())
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (m *machine) Layout() appliance.Layout { return m.layout }

func (m *machine) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	argv, started := c.Argv, func(int) {}
	if m.tap != nil {
		argv, started = m.tap(argv)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	for k, v := range c.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Dir = "/"
	cmd.Stdin = c.Stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred, Setpgid: true}
	cmd.Cancel = func() error {
		if m.orphan {
			return cmd.Process.Kill()
		}
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	lines, w := io.Pipe()
	cmd.Stderr = io.MultiWriter(&stderr, w)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(lines); s.Scan(); {
			if c.OnStderr != nil {
				c.OnStderr(s.Text())
			}
		}
	}()
	m.mu.Lock()
	m.ran = append(append(m.ran, argv...), cmd.Env...)
	m.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		started(cmd.Process.Pid)
		err = cmd.Wait()
	}
	w.Close()
	<-read
	res := appliance.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	if cmd.ProcessState != nil {
		res.ExitCode = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() != nil {
		return res, fmt.Errorf("running %s: %w", filepath.Base(c.Argv[0]), ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return res, fmt.Errorf("running: %w", &appliance.ExitError{Name: filepath.Base(c.Argv[0]), Code: exit.ExitCode(), Stderr: stderr.String()})
	}
	return res, err
}

func (m *machine) WriteFile(_ context.Context, name string, data []byte, mode fs.FileMode) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	if m.cred != nil {
		if err := os.Chown(tmp, int(m.cred.Uid), int(m.cred.Gid)); err != nil {
			return err
		}
	}
	return os.Rename(tmp, name)
}

func (m *machine) ReadFile(_ context.Context, name string) ([]byte, error) { return os.ReadFile(name) }

// start starts the server and waits until it accepts; it is stopped when the
// test ends.
func (m *machine) start(t *testing.T) {
	t.Helper()
	m.launch(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := postgres.WaitAccepting(ctx, m, m.host, m.port); err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
}

func (m *machine) launch(t *testing.T) {
	t.Helper()
	l := m.layout
	log, err := os.OpenFile(l.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m.chown(t, l.LogFile)
	server := exec.CommandContext(context.WithoutCancel(t.Context()), l.BinDir+"/postgres", "-D", l.DataDir)
	server.Env, server.Dir = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, "/"
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred, Setsid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Wait() // how it ended is in its log
	}()
	m.server, m.ended = server.Process, ended
	t.Cleanup(func() { m.stopWith(t, syscall.SIGQUIT) })
}

// stop stops the server as pg_ctl's mode fast does.
func (m *machine) stop(t *testing.T) {
	t.Helper()
	m.stopWith(t, syscall.SIGINT)
}

func (m *machine) stopWith(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if running, _ := m.ServerRunning(t.Context()); !running {
		return
	}
	if err := m.server.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-m.ended:
	case <-time.After(patience):
		t.Error("the server doesn't stop")
	}
}

// ServerRunning makes WaitAccepting notice a dead server quickly.
func (m *machine) ServerRunning(context.Context) (bool, error) {
	if m.ended == nil {
		return false, nil
	}
	select {
	case <-m.ended:
		return false, nil
	default:
		return true, nil
	}
}

func (m *machine) log() string {
	b, err := os.ReadFile(m.layout.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// cluster is a primary and its standbys on this machine.
type cluster struct {
	members []*machine // the first is the primary
	secrets appliance.Secrets
}

func name(i int) string { return appliance.MemberName(i) }

func (c *cluster) config(i int) postgres.Config {
	m := c.members[i]
	cfg := postgres.Config{
		Cluster: "test", Member: name(i), Host: m.host, Port: m.port, Database: "films",
		Sources:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Parameters: map[string]string{"fsync": "off", "shared_buffers": "16MB", "max_connections": "30"},
		Standbys:   len(c.members) - 1, ReplicatorPassword: c.secrets.Get(appliance.SecretReplicator),
	}
	if i > 0 {
		up := c.upstream(i)
		cfg.Primary = &up
	}
	return cfg
}

func (c *cluster) upstream(i int) postgres.Upstream {
	return postgres.Upstream{Host: c.members[0].host, Port: c.members[0].port, Slot: name(i)}
}

func (c *cluster) control(t *testing.T, i int, database string) *postgres.Control {
	t.Helper()
	m := c.members[i]
	ctl, err := postgres.Connect(t.Context(), m.host, m.port, database, c.secrets.Get(appliance.SecretControl))
	if err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
	t.Cleanup(func() {
		if err := ctl.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ctl
}

func (c *cluster) sql(t *testing.T, i int, database, sql string) string {
	t.Helper()
	out, err := postgres.SuperuserSQL(t.Context(), c.members[i], c.members[i].port, database, sql)
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return out
}

// newPrimary makes a running primary with roles and no database.
func newPrimary(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{secrets: appliance.GenerateSecrets()}
	m := newMachine(t, "127.0.0.1")
	c.members = append(c.members, m)
	ctx := t.Context()
	must(t, postgres.Initdb(ctx, m, postgres.InitOptions{SyncLater: true}))
	must(t, postgres.Configure(ctx, m, c.config(0)))
	m.start(t)
	must(t, postgres.EnsureRoles(ctx, m, m.port, c.secrets, "films"))
	return c
}

// addStandby clones a standby, starts it and waits until it streams.
func (c *cluster) addStandby(t *testing.T) *machine {
	t.Helper()
	ctx := t.Context()
	m := newMachine(t, "127.0.0.1")
	c.members = append(c.members, m)
	i := len(c.members) - 1
	primary := c.control(t, 0, "postgres")
	must(t, primary.EnsureSlot(ctx, name(i)))
	must(t, postgres.Clone(ctx, m, c.cloneOptions(i), nil))
	must(t, postgres.Configure(ctx, m, c.config(i)))
	m.start(t)
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := postgres.WaitStreaming(wait, primary, []string{name(i)}); err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, appliance.AsProblem(err).Detail)
	}
}
