//go:build e2e

package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// standbysEnv overrides how many virtual machines the core has.
const standbysEnv = "PGAPP_TEST_STANDBYS"

// TestCore shows on one cluster, whose primary is on the host and whose
// standbys are virtual machines, what the command line promises of them.
func TestCore(t *testing.T) {
	l := newLab(t)
	want := shape{standbys: 3, first: "192.168.122.101"}
	if n, err := strconv.Atoi(os.Getenv(standbysEnv)); err == nil {
		want.standbys = n
	}
	unchanged := l.foreign()
	stillThere := l.livingHost("192.168.122.104")
	l.importImage()
	l.addressInUse("other", "192.168.122.104", "living machine")
	up := upWith("--standbys", strconv.Itoa(want.standbys))
	first := l.firstUp(up...)
	if first.code != 0 {
		t.Fatalf("up: exit code %d", first.code)
	}
	l.saysHowItRuns(first.err)
	s := l.streaming(want)
	l.verified(want)
	l.ok(up...) // a repeat does nothing
	l.addressInUse("other", "192.168.122.101", "pgapp-main-node1")
	l.guestCommands()
	l.movesPrimary()
	l.wentDownInside(want, "reboot")
	before := l.bootIDs(want)

	l.ok("stop")
	begun := time.Now()
	l.ok("start")
	t.Logf("stopped machines came back in %s", time.Since(begun).Round(time.Second))
	l.streaming(want)
	after := l.bootIDs(want)
	for m, was := range before {
		wasBoot, wasKey, _ := strings.Cut(was, "\n")
		nowBoot, nowKey, _ := strings.Cut(after[m], "\n")
		if wasKey != nowKey || wasBoot == nowBoot {
			t.Errorf("%s: before\n%s\nafter\n%s", m, was, after[m])
		}
	}
	l.verified(want)
	l.wrongHostKey(appliance.MemberName(want.standbys))

	l.gone(s)
	unchanged()
	stillThere()
	if o := l.run(time.Minute, "down", "--by-tag", s.UUID, "--volumes", "--yes"); o.code != 0 {
		t.Errorf("down --by-tag of what is gone: exit code %d", o.code)
	}
}

// addressInUse asks for a cluster at an address that somebody has.
func (l *lab) addressInUse(cluster, address, by string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "spec.yaml")
	if err := os.WriteFile(file, []byte("first_address: "+address+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	o := l.refused(appliance.ErrHostAddressTaken, upWith("--cluster", cluster, "--standbys", "1", "-f", file)...)
	if !strings.Contains(o.err, address) || !strings.Contains(o.err, by) {
		l.t.Errorf("the error doesn't tell that %s has %s", by, address)
	}
	l.refused(appliance.ErrNotFound, "ps", "--cluster", cluster)
	if strings.Contains(l.virsh("net-dumpxml", "default"), "pgapp-"+cluster) {
		l.t.Errorf("a cluster that was refused left reservations")
	}
}

// saysHowItRuns wants up to tell that machines are emulated, and why, be it
// that libvirt has no KVM, or that it lists it and no guest can run on it.
func (l *lab) saysHowItRuns(said string) {
	l.t.Helper()
	listed := exec.CommandContext(l.t.Context(), "virsh", "-q", "-c", "qemu:///system", "domcapabilities", "--virttype", "kvm", "--machine", "q35").Run() == nil
	kind := l.domainType("node1")
	l.t.Logf("libvirt lists kvm: %t; machines are of type %s", listed, kind)
	why := "KVM can't run guests on this host"
	if !listed {
		why = "libvirt has no KVM"
	}
	switch kind {
	case "kvm":
		if !listed || strings.Contains(said, "emulated") {
			l.t.Errorf("machines run under KVM, and up says otherwise")
		}
	case "qemu":
		if !strings.Contains(said, "emulated") || !strings.Contains(said, why) {
			l.t.Errorf("machines are emulated, and up doesn't say so, or not that %s", why)
		}
	default:
		l.t.Errorf("node1's machine is of type %q", kind)
	}
}

// bootIDs asks each guest over SSH which boot this is, and counts its films.
func (l *lab) bootIDs(want shape) map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for i := range want.standbys {
		m := appliance.MemberName(i + 1)
		out[m] = l.ok("ssh", m, "--", "cat /proc/sys/kernel/random/boot_id; cat /etc/ssh/ssh_host_ed25519_key.pub")
		if films := strings.TrimSpace(l.ok("psql", m, "--", "-XAtc", "SELECT count(*) FROM film")); films != "1000" {
			l.t.Errorf("%s has %s films", m, films)
		}
	}
	return out
}

// guestCommands runs commands on a guest, and where there is none.
func (l *lab) guestCommands() {
	l.t.Helper()
	if out := l.ok("ssh", "node1", "--", "uname", "-sn"); out != "Linux node1\n" {
		l.t.Errorf("uname says %q", out)
	}
	// What systemd says before there is a journal comes into it by the kernel's
	// messages, so it isn't known by systemd's process.
	const wrong = `set -e
systemctl --failed --no-legend
sudo journalctl -b -q -o cat -t systemd | awk '/Reached target/ { seen = 1 } /ordering cycle|deleted to break/ { print } END { if (!seen) print "there is no boot in the journal" }'
for u in resolved timesyncd; do systemctl is-active -q systemd-$u || echo "$u is not there"; done`
	if out := l.ok("ssh", "node1", "--", wrong); out != "" {
		l.t.Errorf("what went wrong in the guest's boot: %s", out)
	}
	if o := l.run(l.limit, "ssh", "node1", "--", "exit 7"); o.code != 7 {
		l.t.Errorf("a command's exit code 7 became %d", o.code)
	}
	if o := l.run(l.limit, "ssh", "node0"); o.code != appliance.ExitUsage {
		l.t.Errorf("logging in to a process: exit code %d", o.code)
	}
	for member, standby := range map[string]string{"node0": "f", "node1": "t"} {
		const who = `SELECT current_user, current_setting('is_superuser'), pg_is_in_recovery() AS "it's"`
		if out := l.ok("psql", "--role", "admin", member, "--", "-XAtc", who); out != "postgres|on|"+standby+"\n" {
			l.t.Errorf("the superuser's psql on %s says %q", member, out)
		}
	}
	if o := l.run(l.limit, "psql", "--role", "admin", "node1", "--", "-Xc", "SELECT 1/0"); o.code != 1 {
		l.t.Errorf("a failed statement's exit code 1 became %d", o.code)
	}
	if left, _ := filepath.Glob(filepath.Join(l.home, "client", "*", "ssh-*")); len(left) > 0 {
		l.t.Errorf("keys were left: %q", left)
	}
	if enabled := l.ok("ssh", "node1", "--", "systemctl is-enabled pgapp-postgres.service || true; ls /dev/vdb 2>/dev/null || true"); strings.TrimSpace(enabled) != "static" {
		l.t.Errorf("on the guest: %q; want a unit that nothing starts, and no seed", enabled)
	}
}

// wrongHostKey gives the guest another host key: neither the command line nor
// the daemon may log in then, much less send anything.
func (l *lab) wrongHostKey(member string) {
	l.t.Helper()
	since := strings.TrimSpace(l.ok("ssh", member, "--", `sudo sh -c 'set -e; cd /etc/ssh; rm ssh_host_ed25519_key*; `+
		`ssh-keygen -q -t ed25519 -N "" -f ssh_host_ed25519_key; systemctl restart ssh; date +%s.%6N'`))
	o := l.run(l.limit, "ssh", member, "--", "true")
	if o.code != 255 || !strings.Contains(o.err, "Host key verification failed") {
		l.t.Errorf("logging in to another host key: exit code %d", o.code)
	}
	// The daemon's connection is older than the key: a new daemon has none.
	l.ok("shutdown")
	l.refused(appliance.ErrGuestHostKey, "logs", member)
	l.until(l.limit, "the new daemon has tried to bring the member back", func() bool {
		o := l.lastOperation()
		return o.Params.KeepStopped && o.State.Final()
	})
	l.t.Logf("the daemon's own attempt: %v", l.lastOperation().Error)

	log := l.sshdLog(member, since)
	l.t.Logf("the guest's sshd:\n%s", log)
	if n := strings.Count(log, "Accepted "); n != 1 {
		l.t.Errorf("%d logins were accepted, and only the one that asks is the test's", n)
	}
	if !strings.Contains(log, "[preauth]") {
		l.t.Error("nobody came to the guest and left before the login")
	}
}

// sshdLog asks the guest, whatever its host key is, who came. sshd makes those
// wait who left without logging in.
func (l *lab) sshdLog(member, since string) string {
	l.t.Helper()
	login, err := l.client.Login(l.t.Context(), "main", member)
	if err != nil {
		l.t.Fatal(err)
	}
	key := filepath.Join(l.t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(login.Key), 0o600); err != nil {
		l.t.Fatal(err)
	}
	var out []byte
	l.until(l.limit, "sshd lets the test in", func() bool {
		ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
		defer cancel()
		out, err = exec.CommandContext(ctx, "ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
			login.User+"@"+login.Host, "sudo journalctl -u ssh -o cat --since @"+since).Output()
		return err == nil
	})
	return string(out)
}
