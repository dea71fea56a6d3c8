// More than 400 lines, because the one harness of all tests with
// real clusters, and what a home may hold when they end, belong together.

//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/scripts/pacetest"
)

// commandTimeout bounds one command. Nothing here takes a tenth of it, but for a machine with
// thirty processes ready to run, on which some have taken two minutes.
const commandTimeout = 4 * time.Minute

// box is one home and the real program.
type box struct {
	t    *testing.T
	bin  string
	home string
	// env is added to each command's environment, and prefix stands before it.
	env, prefix []string
	net         *network // its own, or nil for the machine's
	links       *links   // those that can be cut, or nil
	// mayHold are names that the home may hold in the end besides the known ones.
	mayHold []string

	mu sync.Mutex
	// seen are the addresses and UUIDs of clusters: nothing of them may be left.
	addresses map[string]bool
	uuids     map[string]bool
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// binary is the program under test.
func binary(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("PGAPP_TEST_BINARY")
	if bin == "" {
		t.Fatal("PGAPP_TEST_BINARY does not name the program to test: run scripts/test, or build it (make build) and set the variable to its absolute path")
	}
	return bin
}

// pgbin is the directory with PostgreSQL's programs.
func pgbin(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PGAPP_TEST_PGBIN")
	if dir == "" {
		t.Fatal("PGAPP_TEST_PGBIN does not name PostgreSQL's programs: run scripts/test, or set it to what 'go run ./scripts/build/unpack DIR' prints")
	}
	return dir
}

// newBox makes a home. In the end it removes every cluster, stops the daemon
// and looks for what is left.
func newBox(t *testing.T) *box {
	t.Helper()
	dir, err := os.MkdirTemp(homesDir(), "box-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return newBoxAt(t, filepath.Join(dir, "home"))
}

// newBoxAt uses a home whose parent is there.
func newBoxAt(t *testing.T, home string) *box {
	t.Helper()
	pacetest.Enter(t)
	b := &box{t: t, bin: binary(t), home: home, addresses: map[string]bool{}, uuids: map[string]bool{}}
	if isolated() {
		b.net = newNetwork(t)
		b.prefix = []string{"nsenter", "--net=" + b.net.path(), "--"}
	} else {
		takeTurn(t)
	}
	t.Cleanup(b.close)
	return b
}

// shareTree gives the home a copy of the PostgreSQL tree, which it would
// otherwise unpack.
func (b *box) shareTree() *box {
	b.t.Helper()
	tree := filepath.Clean(filepath.Join(pgbin(b.t), "../../../../.."))
	b.must(os.MkdirAll(filepath.Join(b.home, "postgres"), 0o711))
	b.must(exec.CommandContext(b.t.Context(), "cp", "-a", "--reflink=auto", tree, filepath.Join(b.home, "postgres")).Run())
	b.must(os.Chmod(b.home, 0o711))
	return b
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// command makes one command of the program.
func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(slices.Clone(b.prefix), b.bin)
	argv = append(argv, args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+b.home, "PGAPP_LISTEN=127.0.0.1:0", "PGAPP_AUTOMATIC=off", "PGAPP_DURABILITY=async")
	cmd.Env = append(cmd.Env, b.env...)
	cmd.Dir = "/"
	return cmd
}

// run runs one command to its end.
func (b *box) run(args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), commandTimeout)
	defer cancel()
	cmd := b.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatalf("pgapp %q: %v", args, err)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if ctx.Err() != nil {
		b.t.Fatalf("pgapp %q did not end in %s\n%s%s", args, commandTimeout, r.err, b.log())
	}
	return r
}

// want runs one command and wants an exit code.
func (b *box) want(code int, args ...string) result {
	b.t.Helper()
	r := b.run(args...)
	if r.code != code {
		b.t.Fatalf("pgapp %q: exit code %d, want %d\n%s%s\n%s", args, r.code, code, r.out, r.err, b.log())
	}
	return r
}

func (b *box) ok(args ...string) result {
	b.t.Helper()
	return b.want(0, args...)
}

// log is the end of the daemon's log, for messages about failures.
func (b *box) log() string {
	data, err := os.ReadFile(filepath.Join(b.home, "pgapp.log"))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "the daemon's log:\n" + strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// background starts a command and returns a function that waits for its end.
func (b *box) background(args ...string) (cmd *exec.Cmd, wait func() result) {
	b.t.Helper()
	cmd = b.command(context.WithoutCancel(b.t.Context()), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	b.must(cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state says how it ended
		close(done)
	}()
	return cmd, func() result {
		b.t.Helper()
		select {
		case <-done:
		case <-time.After(commandTimeout):
			_ = cmd.Process.Kill()
			<-done
			b.t.Fatalf("pgapp %q did not end in %s\n%s%s", args, commandTimeout, errs.String(), b.log())
		}
		return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
}

// upGate lets one new cluster after the other choose its addresses where they
// share a network: a port is taken only when its server has started.
var upGate sync.Mutex

// gate waits for the turn to bring up a cluster, and returns how to end it.
func (b *box) gate() (leave func()) {
	if b.net != nil {
		return func() {}
	}
	upGate.Lock()
	return upGate.Unlock
}

// dial connects in the box's network.
func (b *box) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	var d net.Dialer
	err = b.net.in(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// tool runs another program in the box's network.
func (b *box) tool(args ...string) *exec.Cmd {
	argv := slices.Clone(args)
	if b.net != nil {
		argv = append([]string{"nsenter", "--net=" + b.net.path(), "--"}, argv...)
	}
	return exec.CommandContext(b.t.Context(), argv[0], argv[1:]...)
}

// up brings up a cluster and remembers what must be gone in the end.
func (b *box) up(args ...string) appliance.ClusterStatus {
	b.t.Helper()
	defer b.gate()()
	r := b.ok(append([]string{"up", "--provider", "local", "-o", "json"}, args...)...)
	return b.remember(b.status(r.out))
}

func (b *box) status(text string) appliance.ClusterStatus {
	b.t.Helper()
	var s appliance.ClusterStatus
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		b.t.Fatalf("%v in %s", err, text)
	}
	return s
}

func (b *box) remember(s appliance.ClusterStatus) appliance.ClusterStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uuids[s.UUID] = true
	for _, m := range s.Members {
		b.addresses[net.JoinHostPort(m.Host, strconv.Itoa(m.Port))] = true
	}
	if e := s.Endpoints; e != nil {
		b.addresses[e.RWAddress()], b.addresses[e.ROAddress()] = true, true
	}
	return s
}

// ps observes the cluster.
func (b *box) ps(args ...string) appliance.ClusterStatus {
	b.t.Helper()
	r := b.run(append([]string{"ps", "-o", "json"}, args...)...)
	if r.code != 0 && r.code != appliance.ExitDegraded {
		b.t.Fatalf("pgapp ps %q: exit code %d\n%s", args, r.code, r.err)
	}
	return b.remember(b.status(r.out))
}

// verify looks again while a member gives no answer in
// the time that a user is asked to wait: this machine may be busy.
func (b *box) verify(args ...string) (result, appliance.VerifyReport) {
	b.t.Helper()
	for end := time.Now().Add(commandTimeout); ; {
		r := b.run(append([]string{"verify", "-o", "json"}, args...)...)
		var v appliance.VerifyReport
		if err := json.Unmarshal([]byte(r.out), &v); err != nil {
			b.t.Fatalf("verify %q: %v, exit code %d\n%s%s", args, err, r.code, r.err, b.log())
		}
		if !slices.ContainsFunc(v.Checks, unanswered) || time.Now().After(end) {
			return r, v
		}
	}
}

func unanswered(c appliance.Check) bool {
	return !c.OK && strings.Contains(c.Detail, "no answer in time")
}

// verified wants a cluster in which every check passes.
func (b *box) verified(args ...string) appliance.VerifyReport {
	b.t.Helper()
	r, v := b.verify(args...)
	for _, c := range v.Checks {
		if !c.OK {
			b.t.Errorf("verify %q: %s on %s: %s", args, c.Name, c.Member, c.Detail)
			if c.Member != "" {
				b.t.Logf("the log of %s:\n%s", c.Member, last(b.run("logs", c.Member).out, 30))
			}
		}
	}
	if r.code != 0 || !v.OK {
		b.t.Fatalf("verify %q: exit code %d, ok %v\n%s", args, r.code, v.OK, b.log())
	}
	return v
}

// last returns the last n lines of the text.
func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// rows runs a query through pgapp psql.
func (b *box) rows(query string, args ...string) string {
	b.t.Helper()
	return strings.TrimSpace(b.ok(append(append([]string{"psql"}, args...), "--", "-XAtc", query)...).out)
}

// connect opens a session with a connection string.
func (b *box) connect(url string) *pgx.Conn {
	b.t.Helper()
	cfg, err := pgx.ParseConfig(url)
	b.must(err)
	cfg.DialFunc = b.dial
	c, err := pgx.ConnectConfig(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatalf("connecting: %v", err)
	}
	b.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(b.t.Context())) })
	return c
}

// api is a client of the home's daemon.
func (b *box) api() *api.Client { return api.NewUnixClient(filepath.Join(b.home, "pgapp.sock")) }

// pid is the daemon's process, or 0 where none runs.
func (b *box) pid() int {
	info, err := b.api().Info(context.WithoutCancel(b.t.Context()))
	if err != nil && !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) {
		b.t.Errorf("asking the daemon who it is: %v", err)
	}
	return info.PID
}

// killDaemon kills the daemon as the kernel would, and waits for its end.
func (b *box) killDaemon() {
	b.t.Helper()
	pid := b.pid()
	if pid == 0 {
		b.t.Fatal("there is no daemon to kill")
	}
	killAndWait(b.t, pid)
	if _, err := b.api().Info(b.t.Context()); err == nil {
		b.t.Fatalf("the daemon %d answers though it was killed", pid)
	}
}

// gone tells whether a process has ended; whoever should reap it may not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func killAndWait(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("killing process %d: %v", pid, err)
	}
	if !pacetest.Until(commandTimeout, func() bool { return gone(pid) }) {
		t.Fatalf("process %d does not end", pid)
	}
}

// processes are those that work below the home: servers and their children.
func (b *box) processes() []int {
	entries, err := os.ReadDir("/proc")
	b.must(err)
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err == nil && strings.HasPrefix(cwd, b.home+"/") {
			out = append(out, pid)
		}
	}
	return out
}

// killServers kills every process of the home's clusters.
func (b *box) killServers() {
	b.t.Helper()
	for round := b.processes(); len(round) > 0; round = b.processes() {
		for _, pid := range round {
			killAndWait(b.t, pid)
		}
	}
}

// clusters are the names of the home's clusters, by its directory and its store.
func (b *box) clusters() []string {
	b.t.Helper()
	var list []appliance.ClusterStatus
	r := b.run("ps", "--all", "-o", "json")
	if r.code != 0 || json.Unmarshal([]byte(r.out), &list) != nil {
		b.t.Errorf("listing the clusters: exit code %d\n%s%s", r.code, r.err, b.log())
	}
	var out []string
	for _, c := range list {
		out = append(out, c.Name)
		b.remember(c)
	}
	return out
}

// close removes all clusters and looks for what is left.
func (b *box) close() {
	if _, err := os.Lstat(filepath.Join(b.home, "state.db")); err != nil {
		return // no daemon ever ran
	}
	for _, name := range b.clusters() {
		if r := b.run("down", "--volumes", "--yes", "--cluster", name); r.code != 0 {
			b.t.Errorf("removing cluster %s: exit code %d\n%s%s", name, r.code, r.err, b.log())
		}
	}
	pid := b.pid()
	if r := b.run("shutdown"); r.code != 0 {
		b.t.Errorf("shutdown: exit code %d\n%s", r.code, r.err)
	}
	if pid != 0 && !gone(pid) && b.env == nil {
		b.t.Errorf("the daemon %d runs after shutdown", pid)
	}
	b.nothingLeft()
	if b.t.Failed() {
		b.killServers()
	}
}

// nothingLeft wants a machine without a trace of the home's clusters.
func (b *box) nothingLeft() {
	b.t.Helper()
	for _, pid := range b.processes() {
		cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		b.t.Errorf("process %d is left: %s", pid, bytes.ReplaceAll(cmd, []byte{0}, []byte{' '}))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for addr := range b.addresses {
		if c, err := b.dial(context.WithoutCancel(b.t.Context()), "tcp", addr); err == nil {
			_ = c.Close()
			b.t.Errorf("something listens on %s", addr)
		}
	}
	for uuid := range b.uuids {
		found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", "pgapp-"+uuid[:8]+"*"))
		hybrid, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/unified", "pgapp-"+uuid[:8]+"*"))
		if all := append(found, hybrid...); len(all) > 0 {
			b.t.Errorf("control groups are left: %q", all)
		}
	}
	known := append([]string{"backup.key", "backups", "images", "pgapp.lock", "pgapp.log", "pgapp.sock", "postgres", "state.db", "state.id", "token"}, b.mayHold...)
	entries, err := os.ReadDir(b.home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Error(err)
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			inside, _ := filepath.Glob(filepath.Join(b.home, e.Name(), "*"))
			b.t.Errorf("%s is left in the home, with %q", e.Name(), inside)
		}
	}
}
