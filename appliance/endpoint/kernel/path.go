package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	leads, err := leadsOf(was, is)
	if err != nil {
		return err
	}
	table, err := p.open()
	if err != nil {
		return err
	}
	return p.lead(ctx, table, leads)
}

// lead closes the endpoints whose connections lead elsewhere, cuts these, and opens.
func (p Path) lead(ctx context.Context, table string, leads []lead) error {
	at, err := endpoints(ctx, table)
	if err != nil {
		return err
	}
	for open := false; ; {
		wrong, err := strays(at, leads)
		switch {
		case err != nil:
			return err
		case len(wrong) == 0 && open:
			return nil
		case len(wrong) == 0:
			// A connection may have begun since, the old way: so the list is read again.
			err, open = nft(ctx, script(table, leads)), true
		default:
			open = false
			if err = nft(ctx, script(table, closed(leads, wrong))); err == nil {
				err = end(wrong)
			}
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// closed returns the leads without new connections to the endpoints of the flows.
func closed(leads []lead, wrong []flow) []lead {
	out := slices.Clone(leads)
	for i := range out {
		if slices.ContainsFunc(wrong, func(f flow) bool { return f.at == out[i].at }) {
			out[i].to = nil
		}
	}
	return out
}

// Block has the endpoints refuse every connection, and cuts those that are open.
func (p Path) Block(ctx context.Context) error {
	table, err := p.table()
	if err != nil || table == "" {
		return err
	}
	at, err := endpoints(ctx, table)
	if err != nil {
		return err
	}
	var leads []lead
	for _, a := range at {
		leads = append(leads, lead{at: a})
	}
	return p.lead(ctx, table, leads)
}

// Remove cuts the connections and removes the table, if there is one.
func (p Path) Remove(ctx context.Context) error {
	table, err := p.table()
	if err != nil || table == "" {
		return err
	}
	if err := p.Block(ctx); err != nil {
		return err
	}
	if err := nft(ctx, "add table ip "+table+"\ndelete table ip "+table+"\n"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.Home, FileName)); err != nil {
		return fmt.Errorf("removing the name of the kernel's table: %w", err)
	}
	return nil
}

// Intact tells whether the table has the routes' endpoints. It has none where another
// program has removed it, as the restart of a firewall may.
func (p Path) Intact(ctx context.Context, routes []appliance.Route) (bool, error) {
	leads, err := leadsOf(nil, routes)
	if err != nil {
		return false, err
	}
	table, err := p.table()
	if err != nil || table == "" {
		return false, err
	}
	at, err := endpoints(ctx, table)
	if err != nil {
		return false, err
	}
	return len(at) == len(leads) && !slices.ContainsFunc(leads, func(l lead) bool { return !slices.Contains(at, l.at) }), nil
}

// Open counts the connections from the endpoints at the addresses, by endpoint and member.
func (Path) Open(at []netip.AddrPort) (map[[2]netip.AddrPort]int, error) {
	flows, err := strays(at, nil)
	if err != nil {
		return nil, err
	}
	out := map[[2]netip.AddrPort]int{}
	for _, f := range flows {
		out[[2]netip.AddrPort{f.at, f.member}]++
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
	home, err := filepath.EvalSymlinks(p.Home)
	if err != nil {
		return "", fmt.Errorf("naming the kernel's table: %w", err)
	}
	sum := sha256.Sum256([]byte(home))
	name = "pgapp_" + hex.EncodeToString(sum[:6])
	if err := durable.WriteFile(filepath.Join(p.Home, FileName), []byte(name+"\n")); err != nil {
		return "", fmt.Errorf("writing the name of the kernel's table: %w", err)
	}
	return name, nil
}

// endpoints returns the addresses that the table leads from, none if it is not there.
func endpoints(ctx context.Context, table string) ([]netip.AddrPort, error) {
	out, err := run(ctx, "", "-j", "list", "set", "ip", table, "endpoints")
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var listed struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Concat []json.RawMessage `json:"concat"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listed); err != nil {
		return nil, fmt.Errorf("reading what nft lists: %w", err)
	}
	var at []netip.AddrPort
	for _, n := range listed.Nftables {
		for _, e := range n.Set.Elem {
			if len(e.Concat) != 2 {
				return nil, fmt.Errorf("reading what nft lists: %s is no address and port", e.Concat)
			}
			one, err := netip.ParseAddrPort(strings.Trim(string(e.Concat[0]), `"`) + ":" + string(e.Concat[1]))
			if err != nil {
				return nil, fmt.Errorf("reading what nft lists: %w", err)
			}
			at = append(at, one)
		}
	}
	return at, nil
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
