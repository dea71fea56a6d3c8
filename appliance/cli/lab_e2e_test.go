//go:build e2e

package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/api"
	"pgapp/appliance"
)

const (
	imagesPool = "/var/lib/libvirt/images/pgapp"
	// pollEvery is how often a test looks whether something has come about.
	pollEvery = 50 * time.Millisecond
)

// lab is one home in the lab, and the real program.
type lab struct {
	t         *testing.T
	bin, home string
	// limit is how long what boots machines may take.
	limit time.Duration
	// env is what the commands have in their environment besides.
	env    []string
	client *api.Client
}

func newLab(t *testing.T) *lab {
	t.Helper()
	bin := os.Getenv("PGAPP_TEST_BINARY")
	if bin == "" || os.Getenv("PGAPP_LAB_IMAGE") == "" {
		t.Fatal("not in the lab, or no program to test: run scripts/e2e core")
	}
	dir, err := os.MkdirTemp("/var/tmp", "pgapp-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, bin: bin, home: filepath.Join(dir, "home"), limit: scaled()}
	l.client = api.NewUnixClient(filepath.Join(l.home, "pgapp.sock"))
	t.Cleanup(func() {
		l.run(l.limit, "down", "--volumes", "--yes")
		l.run(time.Minute, "shutdown")
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(l.home, "pgapp.log"))
			t.Logf("the daemon's log ends:\n%s", log[max(0, len(log)-8000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return l
}

// outcome is how a command ended, and what it said.
type outcome struct {
	out, err string
	code     int
}

// command is one of ours under way.
type command struct {
	// kill ends it as the kernel would; wait returns when it has ended.
	kill  func()
	wait  func() outcome
	ended <-chan struct{}
}

// start starts a command and logs what it says as it says it.
func (l *lab) start(limit time.Duration, args ...string) command {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), limit)
	cmd := exec.CommandContext(ctx, l.bin, args...)
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+l.home, "PGAPP_LISTEN=127.0.0.1:0", "PGAPP_AUTOMATIC=off", "PGAPP_DURABILITY=async")
	cmd.Env = append(cmd.Env, l.env...)
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	r, w := io.Pipe()
	cmd.Stderr = w
	begun := time.Now()
	said, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		for s := bufio.NewScanner(r); s.Scan(); {
			stderr.WriteString(s.Text() + "\n")
			l.t.Logf("%7.1f s  %s", time.Since(begun).Seconds(), s.Text())
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	if err := cmd.Start(); err != nil {
		cancel()
		l.t.Fatalf("starting pgapp %q: %v", args, err)
	}
	var err error
	go func() {
		defer close(ended)
		err = cmd.Wait()
		_ = w.Close()
		<-said
	}()
	wait := func() outcome {
		l.t.Helper()
		defer cancel()
		<-ended
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
			l.t.Fatalf("pgapp %q after %s: %v", args, time.Since(begun), err)
		}
		code := cmd.ProcessState.ExitCode()
		l.t.Logf("%7.1f s  pgapp %s: exit code %d", time.Since(begun).Seconds(), strings.Join(args, " "), code)
		return outcome{stdout.String(), stderr.String(), code}
	}
	// One that ended by itself has ended, which is what is wanted.
	return command{kill: func() { _ = cmd.Process.Kill() }, wait: wait, ended: ended}
}

func (l *lab) run(limit time.Duration, args ...string) outcome {
	l.t.Helper()
	return l.start(limit, args...).wait()
}

func (l *lab) ok(args ...string) string {
	l.t.Helper()
	o := l.run(l.limit, args...)
	if o.code != 0 {
		l.t.Fatalf("pgapp %q: exit code %d\n%s", args, o.code, o.out)
	}
	return o.out
}

// refused wants the command to fail with that problem.
func (l *lab) refused(id appliance.ErrorID, args ...string) outcome {
	l.t.Helper()
	o := l.run(l.limit, args...)
	code, _ := id.Codes()
	if o.code != code || !strings.Contains(o.err, "error["+string(id)+"]") {
		l.t.Errorf("pgapp %q: exit code %d, want %d and error[%s]\n%s", args, o.code, code, id, o.err)
	}
	return o
}

// upWith is up with what every cluster of the lab needs.
func upWith(args ...string) []string {
	return append([]string{
		"up", "--provider", "libvirt", "--image", "lab", "--apt-mirror", os.Getenv("PGAPP_LAB_APT"),
		"--memory", "512", "--vcpus", "1",
	}, args...)
}

func (l *lab) importImage() {
	l.t.Helper()
	l.ok("image", "import", os.Getenv("PGAPP_LAB_IMAGE"), "--name", "lab")
}

// must runs another program than ours.
func (l *lab) must(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.CommandContext(l.t.Context(), name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// later runs another program when the test is over, whatever became of what
// it removes.
func (l *lab) later(name string, args ...string) {
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = exec.CommandContext(ctx, name, args...).Run()
	})
}

func (l *lab) virsh(args ...string) string {
	l.t.Helper()
	return l.must("virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...)
}

// until polls until the condition holds.
func (l *lab) until(limit time.Duration, what string, holds func() bool) {
	l.t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			l.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// lastOperation is the newest one as it is now, which the journal doesn't hold;
// empty where none is or nobody answers.
func (l *lab) lastOperation() appliance.Operation {
	ops, err := l.client.Operations(l.t.Context(), "main")
	if err != nil || len(ops) == 0 {
		return appliance.Operation{}
	}
	o, err := l.client.Operation(l.t.Context(), ops[0].ID)
	if err != nil {
		return appliance.Operation{}
	}
	return o
}

func step(o appliance.Operation, id string) appliance.StepRecord {
	for _, s := range o.Steps {
		if s.ID == id {
			return s
		}
	}
	return appliance.StepRecord{}
}

// shape is what a cluster is wanted to look like.
type shape struct {
	standbys int
	// primaryVM is set where the primary is a virtual machine too.
	primaryVM bool
	// first is node1's address.
	first string
}

// host is the address that a member has to have.
func (s shape) host(member int) string {
	if member == 0 && !s.primaryVM {
		return "192.168.122.1"
	}
	a := netip.MustParseAddr(s.first).As4()
	a[3] += byte(member - 1)
	return netip.AddrFrom4(a).String()
}

// status is what ps says, be the cluster well or not.
func (l *lab) status() appliance.ClusterStatus {
	l.t.Helper()
	o := l.run(l.limit, "ps", "-o", "json")
	var s appliance.ClusterStatus
	if err := json.Unmarshal([]byte(o.out), &s); err != nil || o.code != 0 && o.code != appliance.ExitDegraded {
		l.t.Fatalf("pgapp ps: exit code %d, %v: %s", o.code, err, o.out)
	}
	return s
}

// streaming wants the primary running and every standby streaming.
func (l *lab) streaming(want shape) appliance.ClusterStatus {
	l.t.Helper()
	s := l.status()
	if s.Phase != appliance.PhaseReady || len(s.Members) != want.standbys+1 {
		l.t.Errorf("phase %s with %d members", s.Phase, len(s.Members))
	}
	for i, m := range s.Members {
		host, state, place := want.host(i), appliance.StateStreaming, appliance.PlacementVM
		if i == 0 {
			state = appliance.StateRunning
		}
		if i == 0 && !want.primaryVM {
			place = appliance.PlacementLocal
		}
		if m.Host != host || m.State != state || m.Placement != place {
			l.t.Errorf("%s is %s at %s, placed %s; want %s at %s, placed %s", m.Name, m.State, m.Host, m.Placement, state, host, place)
		}
	}
	return s
}

// verified wants every check to pass, and the guests' addresses in the
// primary's table.
func (l *lab) verified(want shape) {
	l.t.Helper()
	var v appliance.VerifyReport
	out := l.ok("verify", "-o", "json")
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		l.t.Fatal(err)
	}
	var addrs []string
	for _, r := range v.Replication {
		l.t.Logf("pg_stat_replication: %+v", r)
		if r.State != "streaming" {
			l.t.Errorf("%s is %s", r.ClientAddr, r.State)
		}
		addrs = append(addrs, r.ClientAddr)
	}
	slices.Sort(addrs)
	for i := range want.standbys {
		if host := want.host(i + 1); i >= len(addrs) || addrs[i] != host {
			l.t.Errorf("the table has %q, want %s", addrs, host)
		}
	}
	for _, c := range v.Checks {
		if !c.OK {
			l.t.Errorf("verify: %s on %s: %s", c.Name, c.Member, c.Detail)
		}
	}
	if !v.OK {
		l.t.Fatalf("not verified: %s", out)
	}
}

// leftovers lists what still carries the cluster's UUID, or one of its names.
func (l *lab) leftovers(s appliance.ClusterStatus) []string {
	l.t.Helper()
	var out []string
	for line := range strings.Lines(l.virsh("list", "--all", "--name")) {
		if name := strings.TrimSpace(line); name != "" && strings.Contains(l.virsh("dumpxml", name), s.UUID) {
			out = append(out, "domain "+name)
		}
	}
	if strings.Contains(l.virsh("net-dumpxml", "default"), s.UUID[:8]) {
		out = append(out, "reservations")
	}
	for _, glob := range []string{imagesPool + "/*" + s.UUID + "*", "/var/lib/libvirt/qemu/nvram/pgapp-main-node*", "/var/lib/libvirt/qemu/nvram/pgapp-main-golden_*", l.home + "/clusters/*"} {
		files, _ := filepath.Glob(glob)
		out = append(out, files...)
	}
	return out
}

// gone removes the cluster and wants nothing left of it.
func (l *lab) gone(s appliance.ClusterStatus) {
	l.t.Helper()
	l.ok("down", "--volumes", "--yes")
	if left := l.leftovers(s); len(left) > 0 {
		l.t.Errorf("left behind: %q", left)
	}
}

// domainType tells whether the machine is emulated.
func (l *lab) domainType(member string) string {
	l.t.Helper()
	_, text, _ := strings.Cut(l.virsh("dumpxml", "pgapp-main-"+member), "<domain type='")
	kind, _, _ := strings.Cut(text, "'")
	return kind
}

// domainID changes with every start of the machine.
func (l *lab) domainID(member string) int {
	l.t.Helper()
	id, err := strconv.Atoi(strings.TrimSpace(l.virsh("domid", "pgapp-main-"+member)))
	if err != nil {
		l.t.Fatalf("%s doesn't run: %v", member, err)
	}
	return id
}
