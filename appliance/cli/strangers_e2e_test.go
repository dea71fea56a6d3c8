//go:build e2e

package cli_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

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
	l.later("virsh", "-c", "qemu:///system", "undefine", name)
	before := l.virsh("dumpxml", name)
	return func() {
		l.t.Helper()
		if got := l.virsh("dumpxml", name); got != before {
			l.t.Errorf("the foreign domain was changed:\n%s", got)
		}
	}
}

// livingHost puts somebody else's host into the network, with that address.
// No reservation and no lease tells of it.
func (l *lab) livingHost(address string) (unchanged func()) {
	l.t.Helper()
	const name, link = "pgapp-e2e-host", "pgapp-e2e0"
	l.must("ip", "netns", "add", name)
	l.later("ip", "netns", "del", name)
	l.must("ip", "link", "add", "name", link, "type", "veth", "peer", "name", "eth0", "netns", name)
	l.later("ip", "link", "del", link)
	l.must("ip", "link", "set", link, "master", "virbr0", "up")
	l.must("ip", "-n", name, "address", "add", address+"/24", "dev", "eth0")
	l.must("ip", "-n", name, "link", "set", "eth0", "up")
	alive := func() bool {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "22"), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	l.until(10*time.Second, "the living host answers", alive)
	return func() {
		l.t.Helper()
		if !alive() {
			l.t.Errorf("the host at %s doesn't answer any more", address)
		}
	}
}
