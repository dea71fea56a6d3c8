package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// FileName is within the home and names the home's table, as long as there may be one.
const FileName = "endpoint.kernel"

// Path is the home's table in the kernel. Its methods are not safe for concurrent use.
type Path struct {
	// Home is the directory of pgapp's state, absolute.
	Home string
}

// Apply makes the kernel lead as the routes say, in place of the routes was, and returns
// when no connection leads elsewhere. A repeat is safe. Where was is not known, connections
// for reads to a former primary are not cut.
func (p Path) Apply(ctx context.Context, was, is []appliance.Route) error {
	table, err := p.open()
	if err != nil {
		return err
	}
	return Change(ctx, rules(table), was, is)
}

// Block has the endpoints refuse every connection, and cuts those that are open.
func (p Path) Block(ctx context.Context) error {
	table, err := p.table()
	if err != nil || table == "" {
		return err
	}
	return Shut(ctx, rules(table))
}

// Remove cuts the connections and removes the table, if there is one: also that of an earlier
// home in this directory, which was deleted with its table's name.
func (p Path) Remove(ctx context.Context) error {
	table, err := p.table()
	if err != nil {
		return err
	}
	if table == "" {
		if table, err = p.leftover(ctx); err != nil || table == "" {
			return err
		}
	}
	if err := Shut(ctx, rules(table)); err != nil {
		return err
	}
	if err := nft(ctx, "add table ip "+table+"\ndelete table ip "+table+"\n"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.Home, FileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the name of the kernel's table: %w", err)
	}
	return nil
}

// tracking is there where the kernel tracks connections, as it does where a table like ours
// is. Elsewhere asking for a table would load the kernel's modules.
const tracking = "/proc/sys/net/netfilter/nf_conntrack_max"

// leftover returns the name of a table of this directory's that no file names, empty if
// there is none.
func (p Path) leftover(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	if _, err := os.Stat(tracking); err != nil {
		return "", nil //nolint:nilerr // nothing is tracked
	}
	if _, err := program(); err != nil {
		return "", nil //nolint:nilerr // without the program there is no table of its
	}
	name, err := p.name()
	if err != nil {
		return "", err
	}
	there, err := rules(name).exists(ctx)
	if err != nil || !there {
		return "", nil //nolint:nilerr // root without power over its network, as in a container, has made none
	}
	return name, nil
}

// Intact tells whether the table leads as the routes say. It doesn't where another program
// has removed or changed rules, as the restart of a firewall may, or a person.
func (p Path) Intact(ctx context.Context, routes []appliance.Route) (bool, error) {
	leads, err := leadsOf(nil, routes)
	if err != nil {
		return false, err
	}
	table, err := p.table()
	if err != nil || table == "" {
		return false, err
	}
	return rules(table).hold(ctx, leads)
}

// Open counts the connections from the endpoints at the addresses, by endpoint and member.
func (Path) Open(at []netip.AddrPort) (map[[2]netip.AddrPort]int, error) {
	flows, err := rules("").Flows()
	if err != nil {
		return nil, err
	}
	out := map[[2]netip.AddrPort]int{}
	for _, f := range flows {
		if f.translated() && !f.Ended && slices.Contains(at, f.At) {
			out[[2]netip.AddrPort{f.At, f.Member}]++
		}
	}
	return out, nil
}

// table returns the name of the home's table, empty if there is none.
func (p Path) table() (string, error) {
	name, err := os.ReadFile(filepath.Join(p.Home, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the name of the kernel's table: %w", err)
	}
	return strings.TrimSpace(string(name)), nil
}

// open returns the name of the home's table, which is on record before the table is made.
// A home that is moved keeps the name.
func (p Path) open() (string, error) {
	name, err := p.table()
	if err != nil || name != "" {
		return name, err
	}
	if name, err = p.name(); err != nil {
		return "", err
	}
	if err := durable.WriteFile(filepath.Join(p.Home, FileName), []byte(name+"\n")); err != nil {
		return "", fmt.Errorf("writing the name of the kernel's table: %w", err)
	}
	return name, nil
}

// name is the table's that is made for the directory.
func (p Path) name() (string, error) {
	home, err := filepath.EvalSymlinks(p.Home)
	if err != nil {
		return "", fmt.Errorf("naming the kernel's table: %w", err)
	}
	sum := sha256.Sum256([]byte(home))
	return "pgapp_" + hex.EncodeToString(sum[:6]), nil
}

// nft carries out the script as one transaction.
func nft(ctx context.Context, script string) error {
	_, err := run(ctx, script, "-f", "-")
	return err
}

// program finds nft, which need not be in the path of an ordinary user's shell.
func program() (string, error) {
	for _, name := range []string{"nft", "/usr/sbin/nft", "/sbin/nft"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", appliance.NewProblem(appliance.ErrHostUnable, "the program nft is missing, with which the kernel's rules are set").
		WithHint("install the package nftables, or use --endpoint on")
}

func run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // a fixed program
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return nil, fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, first)
	}
	return out.Bytes(), nil
}
