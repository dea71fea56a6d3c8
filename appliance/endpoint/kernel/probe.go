package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"pgapp/appliance"
)

// Probe tells whether this machine's kernel can lead connections, by trying each part. The
// error names the part that is missing. It leaves nothing.
func Probe(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return unable("only root can set the kernel's rules, and the daemon runs as an ordinary user")
	}
	if _, err := program(); err != nil {
		return err
	}
	if err := probeRules(ctx); err != nil {
		return unable("the kernel takes no rules for address translation (nf_tables, nft_nat, nft_ct, nft_numgen, nft_reject): %w", err)
	}
	if _, err := tracked(); err != nil {
		return unable("the kernel does not list the connections that it tracks (CONFIG_NF_CT_NETLINK): %w", err)
	}
	if err := probeDestroy(ctx); err != nil {
		return unable("the kernel does not destroy sockets (CONFIG_INET_DIAG_DESTROY): %w", err)
	}
	return nil
}

func unable(format string, args ...any) error {
	return appliance.NewProblem(appliance.ErrHostUnable, "--endpoint kernel can't be had here: "+format, args...).
		WithHint("use --endpoint on, which needs none of it")
}

// probeRules makes a table of every kind of rule and removes it, in one transaction.
func probeRules(ctx context.Context) error {
	at := netip.MustParseAddrPort("127.255.255.254:1")
	to := []netip.AddrPort{netip.MustParseAddrPort("127.255.255.254:2"), netip.MustParseAddrPort("127.255.255.254:3")}
	table := fmt.Sprintf("pgapp_probe_%d", os.Getpid())
	return nft(ctx, script(table, []Lead{{At: at, To: to, May: to}})+"delete table ip "+table+"\n")
}

// probeDestroy destroys a socket of its own.
func probeDestroy(ctx context.Context) (err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("making a socket: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return fmt.Errorf("making a socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if err := destroyAll(map[ends]bool{{local, remote}: true}); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0}); err == nil {
		return errors.New("a socket that was destroyed goes on")
	}
	return nil
}
