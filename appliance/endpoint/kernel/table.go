package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// rules is the name of a table of this machine.
type rules string

// Endpoints returns the addresses that the table leads from, none if it is not there.
func (r rules) Endpoints(ctx context.Context) ([]netip.AddrPort, error) {
	out, err := run(ctx, "", "-j", "list", "set", "ip", string(r), "endpoints")
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

// exists tells whether the table is there.
func (r rules) exists(ctx context.Context) (bool, error) {
	_, err := run(ctx, "", "list", "table", "ip", string(r))
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return false, nil
	}
	return err == nil, err
}

// Lead carries out the script of the leads.
func (r rules) Lead(ctx context.Context, leads []Lead) error {
	return nft(ctx, script(string(r), leads))
}

// Flows lists the connections of this machine.
func (rules) Flows() ([]Flow, error) {
	list, err := tracked()
	if err != nil {
		return nil, err
	}
	var out []Flow
	for _, one := range list {
		if f, ok := flowOf(one); ok {
			out = append(out, f)
		}
	}
	return out, nil
}

// End destroys the sockets of the flows, and has the kernel forget the flows.
func (rules) End(flows []Flow) error { return end(flows) }

// hold tells whether the table has what the script of the leads puts there.
func (r rules) hold(ctx context.Context, leads []Lead) (bool, error) {
	out, err := run(ctx, "", "-j", "list", "table", "ip", string(r))
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var listed any
	if err := json.Unmarshal(out, &listed); err != nil {
		return false, fmt.Errorf("reading what nft lists: %w", err)
	}
	has := facts(listed)
	want := factsOf(leads)
	slices.Sort(has)
	slices.Sort(want)
	return slices.Equal(has, want), nil
}

// facts lists the addresses of what nft has listed, those of an element in one text, and a
// word for each rule.
func facts(listed any) []string {
	var out []string
	switch v := listed.(type) {
	case map[string]any:
		if rule, ok := v["rule"].(map[string]any); ok {
			out = append(out, fmt.Sprint("rule of ", rule["chain"]))
		}
		if text, ok := joined(v); ok {
			return append(out, text)
		}
		for _, inner := range v {
			out = append(out, facts(inner)...)
		}
	case []any:
		for _, inner := range v {
			if pair, ok := paired(inner); ok {
				out = append(out, pair)
				continue
			}
			out = append(out, facts(inner)...)
		}
	}
	return out
}

// paired returns an element of a map, which nft lists as an array of two.
func paired(v any) (text string, ok bool) {
	all, _ := v.([]any)
	if len(all) != 2 {
		return "", false
	}
	key, keyOK := joined(all[0])
	to, toOK := joined(all[1])
	return key + " : " + to, keyOK && toOK
}

// joined returns a number, or the addresses and ports that stand together.
func joined(v any) (text string, ok bool) {
	if n, ok := v.(float64); ok {
		return fmt.Sprint(n), true
	}
	m, _ := v.(map[string]any)
	all, ok := m["concat"].([]any)
	var parts []string
	for _, one := range all {
		if _, inner := one.(map[string]any); inner { // a field of a packet
			return "", false
		}
		parts = append(parts, fmt.Sprint(one))
	}
	return strings.Join(parts, " . "), ok
}

// factsOf lists the same of a script.
func factsOf(leads []Lead) []string {
	var out []string
	for _, chain := range []string{"translate", "guard"} {
		for range strings.Count(script("TABLE", leads), "add rule ip TABLE "+chain+" ") {
			out = append(out, "rule of "+chain)
		}
	}
	for _, l := range leads {
		out = append(out, element(l.At))
		for _, m := range distinct(l.May) {
			out = append(out, element(l.At)+" . "+element(m))
		}
		to := distinct(l.To)
		for i, m := range to {
			key := element(l.At)
			if len(to) > 1 {
				key = strconv.Itoa(i)
			}
			out = append(out, key+" : "+element(m))
		}
	}
	return out
}
