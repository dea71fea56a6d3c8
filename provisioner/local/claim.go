package local

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// claimLife is how long an address is kept for a server that doesn't listen yet.
const claimLife = 10 * time.Minute

// claims are the addresses that this process has chosen for servers that don't listen yet.
// Two homes that choose at the same time would take the same address: nothing listens there
// before a server has been made, and one of them could never start. A claim is a socket in
// the kernel's abstract namespace, which is of one network namespace as the address is, and
// goes with its process.
type claims struct {
	mu   sync.Mutex
	held map[netip.AddrPort]net.Listener
}

// take claims the address. It returns false if another process has claimed it; a repeat is
// safe.
func (c *claims) take(ctx context.Context, a netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[a] != nil {
		return true
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", "@pgapp-claims-"+a.String())
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	if c.held == nil {
		c.held = map[netip.AddrPort]net.Listener{}
	}
	c.held[a] = l
	time.AfterFunc(claimLife, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.held[a] == l {
			c.remove(a)
		}
	})
	return true
}

// drop gives the address up.
func (c *claims) drop(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(a)
}

func (c *claims) remove(a netip.AddrPort) {
	if l := c.held[a]; l != nil {
		_ = l.Close()
		delete(c.held, a)
	}
}
