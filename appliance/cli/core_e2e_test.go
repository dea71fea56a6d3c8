//go:build e2e

package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

const (
	// firstLimit is for what makes the golden image: nothing was measured yet.
	firstLimit = 40 * time.Minute
	// standbysEnv overrides how many virtual machines the core has.
	standbysEnv = "PGAPP_TEST_STANDBYS"
	imagesPool  = "/var/lib/libvirt/images/pgapp"
)

// lab is one home in the lab, and the real program.
type lab struct {
	t         *testing.T
	bin, home string
	// limit is how long what boots machines may take, scaled from a boot that
	// was measured in this run.
	limit time.Duration
}

func newLab(t *testing.T) *lab {
	t.Helper()
	bin := os.Getenv("PGAPP_TEST_BINARY")
	if bin == "" || os.Getenv("PGAPP_LAB_IMAGE") == "" {
		t.Fatal("not in the lab, or no program to test: run scripts/e2e core")
	}
	dir, err := os.MkdirTemp("/var/tmp", "pgapp-core-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, bin: bin, home: filepath.Join(dir, "home"), limit: firstLimit}
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

// run runs one command, logs what it says as it says it, and returns its
// standard output and exit code.
func (l *lab) run(limit time.Duration, args ...string) (out string, code int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.bin, args...)
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+l.home, "PGAPP_LISTEN=127.0.0.1:0")
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	r, w := io.Pipe()
	cmd.Stderr = w
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.t.Logf("%7.1f s  %s", time.Since(begun).Seconds(), s.Text())
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	err := cmd.Run()
	_ = w.Close()
	<-done
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		l.t.Fatalf("pgapp %q after %s: %v", args, time.Since(begun), err)
	}
	l.t.Logf("%7.1f s  pgapp %s: exit code %d", time.Since(begun).Seconds(), strings.Join(args, " "), cmd.ProcessState.ExitCode())
	return stdout.String(), cmd.ProcessState.ExitCode()
}

func (l *lab) ok(args ...string) string {
	l.t.Helper()
	out, code := l.run(l.limit, args...)
	if code != 0 {
		l.t.Fatalf("pgapp %q: exit code %d\n%s", args, code, out)
	}
	return out
}

func (l *lab) virsh(args ...string) string {
	l.t.Helper()
	out, err := exec.CommandContext(l.t.Context(), "virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("virsh %v: %v: %s", args, err, out)
	}
	return string(out)
}

// foreign defines somebody else's domain, whose name looks like ours.
func (l *lab) foreign() (unchanged func()) {
	l.t.Helper()
	const name = "pgapp-main-golden2"
	file := filepath.Join(l.t.TempDir(), "foreign.xml")
	const text = "<domain type='qemu'><name>" + name + "</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.virsh("define", file)
	before := l.virsh("dumpxml", name)
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = exec.CommandContext(ctx, "virsh", "-c", "qemu:///system", "undefine", name).Run()
	})
	return func() {
		l.t.Helper()
		if got := l.virsh("dumpxml", name); got != before {
			l.t.Errorf("the foreign domain was changed:\n%s", got)
		}
	}
}

// streaming wants the primary on the host and every standby streaming.
func (l *lab) streaming(standbys int) appliance.ClusterStatus {
	l.t.Helper()
	var s appliance.ClusterStatus
	if err := json.Unmarshal([]byte(l.ok("ps", "-o", "json")), &s); err != nil {
		l.t.Fatal(err)
	}
	if s.Phase != appliance.PhaseReady || len(s.Members) != standbys+1 {
		l.t.Errorf("phase %s with %d members", s.Phase, len(s.Members))
	}
	for i, m := range s.Members {
		host, state, place := "192.168.122."+strconv.Itoa(100+i), appliance.StateStreaming, appliance.PlacementVM
		if i == 0 {
			host, state, place = "192.168.122.1", appliance.StateRunning, appliance.PlacementLocal
		}
		if m.Host != host || m.State != state || m.Placement != place {
			l.t.Errorf("%s is %s at %s, placed %s; want %s at %s, placed %s", m.Name, m.State, m.Host, m.Placement, state, host, place)
		}
	}
	return s
}

// verified wants every check to pass, and the guests' addresses in the
// primary's table.
func (l *lab) verified(standbys int) {
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
	for i := range standbys {
		if want := "192.168.122." + strconv.Itoa(101+i); i >= len(addrs) || addrs[i] != want {
			l.t.Errorf("the table has %q, want %s", addrs, want)
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

// bootIDs asks each guest over SSH which boot this is, and counts its films.
func (l *lab) bootIDs(standbys int) map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for i := range standbys {
		m := appliance.MemberName(i + 1)
		out[m] = l.ok("ssh", m, "--", "cat /proc/sys/kernel/random/boot_id; cat /etc/ssh/ssh_host_ed25519_key.pub")
		if films := strings.TrimSpace(l.ok("psql", m, "--", "-XAtc", "SELECT count(*) FROM film")); films != "1000" {
			l.t.Errorf("%s has %s films", m, films)
		}
	}
	return out
}

// leftovers lists what still carries the cluster's UUID, or one of its names.
func (l *lab) leftovers(s appliance.ClusterStatus) []string {
	l.t.Helper()
	var out []string
	for line := range strings.Lines(l.virsh("list", "--all", "--name")) {
		if name := strings.TrimSpace(line); strings.Contains(l.dumpIfAny(name), s.UUID) {
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

func (l *lab) dumpIfAny(domain string) string {
	if domain == "" {
		return ""
	}
	return l.virsh("dumpxml", domain)
}

// TestCore shows on one cluster, whose primary is on the host and whose
// standbys are virtual machines, what the command line promises of them.
func TestCore(t *testing.T) {
	l := newLab(t)
	standbys := 3
	if n, err := strconv.Atoi(os.Getenv(standbysEnv)); err == nil {
		standbys = n
	}
	unchanged := l.foreign()
	l.ok("image", "import", os.Getenv("PGAPP_LAB_IMAGE"), "--name", "lab")
	up := []string{
		"up", "--provider", "libvirt", "--image", "lab", "--apt-mirror", os.Getenv("PGAPP_LAB_APT"),
		"--memory", "512", "--vcpus", "1", "--standbys", strconv.Itoa(standbys),
	}
	l.ok(up...)
	s := l.streaming(standbys)
	l.verified(standbys)
	l.ok(up...) // a repeat does nothing
	first := l.bootIDs(standbys)
	l.guestCommands()

	l.ok("stop")
	begun := time.Now()
	l.ok("start")
	boot := time.Since(begun)
	t.Logf("stopped machines came back in %s", boot.Round(time.Second))
	l.limit = max(5*boot, 5*time.Minute)
	l.streaming(standbys)
	again := l.bootIDs(standbys)
	for m, was := range first {
		wasBoot, wasKey, _ := strings.Cut(was, "\n")
		nowBoot, nowKey, _ := strings.Cut(again[m], "\n")
		if wasKey != nowKey || wasBoot == nowBoot {
			t.Errorf("%s: before\n%s\nafter\n%s", m, was, again[m])
		}
	}
	l.verified(standbys)

	l.ok("down", "--volumes", "--yes")
	if left := l.leftovers(s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	unchanged()
	if _, code := l.run(time.Minute, "down", "--by-tag", s.UUID, "--volumes", "--yes"); code != 0 {
		t.Errorf("down --by-tag of what is gone: exit code %d", code)
	}
}

// guestCommands runs commands on a guest, and where there is none.
func (l *lab) guestCommands() {
	l.t.Helper()
	if out := l.ok("ssh", "node1", "--", "uname", "-sn"); out != "Linux node1\n" {
		l.t.Errorf("uname says %q", out)
	}
	if _, code := l.run(l.limit, "ssh", "node1", "--", "exit 7"); code != 7 {
		l.t.Errorf("a command's exit code 7 became %d", code)
	}
	if _, code := l.run(l.limit, "ssh", "node0"); code != appliance.ExitUsage {
		l.t.Errorf("logging in to a process: exit code %d", code)
	}
	if left, _ := filepath.Glob(filepath.Join(l.home, "client", "*", "ssh-*")); len(left) > 0 {
		l.t.Errorf("keys were left: %q", left)
	}
	if enabled := l.ok("ssh", "node1", "--", "systemctl is-enabled pgapp-postgres.service || true; ls /dev/vdb 2>/dev/null || true"); strings.TrimSpace(enabled) != "static" {
		l.t.Errorf("on the guest: %q; want a unit that nothing starts, and no seed", enabled)
	}
}
