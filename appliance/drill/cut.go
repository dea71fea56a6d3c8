package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	cutLimit = 2 * time.Minute
	// nftLimit bounds each run of nft.
	nftLimit = 10 * time.Second
)

// CanCut returns nil if links can be cut here, else the reason.
func CanCut(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may cut links")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return errors.New("nft, which cuts links, is not installed")
	}
	return nft(ctx, cutRules("pgapp_drill_probe", "127.0.0.1", 1), "--check")
}

// Cut cuts the server at the address from everybody, in both directions, until undo is
// called. The cut of a drill that was killed ends by itself after two minutes.
func Cut(ctx context.Context, host string, port int) (undo func(), err error) {
	undo = func() {}
	if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
		return undo, fmt.Errorf("links to %s can't be cut: it is no IPv4 address", host)
	}
	table := fmt.Sprintf("pgapp_drill_%s_%d", strings.ReplaceAll(host, ".", "_"), port)
	if err := nft(ctx, cutRules(table, host, port)); err != nil {
		return undo, err
	}
	return func() { _ = nft(context.WithoutCancel(ctx), "delete table ip "+table+"\n") }, nil // a repeat finds none
}

// cutRules drop all packets from and to the server, which gets no answer and gives none,
// as where a switch breaks. The table of an earlier cut is replaced.
func cutRules(table, host string, port int) string {
	return fmt.Sprintf(`add table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	set cut {
		type ipv4_addr . inet_service
		flags timeout
		elements = { %[2]s . %[3]d timeout %[4]ds }
	}
	chain both {
		type filter hook output priority 0
		ip daddr . tcp dport @cut drop
		ip saddr . tcp sport @cut drop
	}
}
`, table, host, port, int(cutLimit.Seconds()))
}

// nft runs nft on the rules.
func nft(ctx context.Context, rules string, options ...string) error {
	ctx, cancel := context.WithTimeout(ctx, nftLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", append(options, "-f", "-")...) //nolint:gosec // our own words
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
