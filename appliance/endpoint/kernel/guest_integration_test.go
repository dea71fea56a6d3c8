//go:build integration

package kernel

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// guest is another network, which a cable connects to this one.
type guest struct {
	t    *testing.T
	file *os.File
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	g := &guest{t: t}
	g.thread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		g.file, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	t.Cleanup(func() { _ = g.file.Close() })
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "here"}, PeerName: "there", PeerNamespace: netlink.NsFd(int(g.file.Fd()))}
	if err := netlink.LinkAdd(cable); err != nil {
		t.Fatal(err)
	}
	up := func(name, address string) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}
	if err := up("here", "10.77.0.1/24"); err != nil {
		t.Fatal(err)
	}
	g.in(func() error { return up("there", "10.77.0.2/24") })
	return g
}

// in runs f in the guest's network.
func (g *guest) in(f func() error) {
	g.t.Helper()
	g.thread(func() error {
		if err := unix.Setns(int(g.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// thread runs f on a thread that ends with it.
func (g *guest) thread(f func() error) {
	g.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	if err := <-done; err != nil {
		g.t.Fatal(err)
	}
}
