package kernel

import (
	"context"
	"net/netip"
	"slices"

	"pgapp/appliance"
)

// Table is a table of the kernel's rules, with the connections that the kernel leads by it.
type Table interface {
	// Endpoints returns the addresses that the table leads from, none if it is not there.
	Endpoints(ctx context.Context) ([]netip.AddrPort, error)
	// Lead puts the leads in place of all that the table has, in one transaction.
	// Connections that have begun go on where they are.
	Lead(ctx context.Context, leads []Lead) error
	// Flows lists the connections that the kernel tracks, those of other tables too.
	Flows() ([]Flow, error)
	// End ends the connections, also those that say nothing, and has the kernel forget them.
	End(flows []Flow) error
}

// Change makes the table lead as the routes say, in place of the routes was: it closes the
// endpoints whose connections lead elsewhere, cuts these, and opens. It returns when no
// connection leads elsewhere.
func Change(ctx context.Context, t Table, was, is []appliance.Route) error {
	leads, err := leadsOf(was, is)
	if err != nil {
		return err
	}
	return lead(ctx, t, leads)
}

// Shut has the table's endpoints refuse every connection, and cuts those that are open.
func Shut(ctx context.Context, t Table) error {
	at, err := t.Endpoints(ctx)
	if err != nil {
		return err
	}
	var leads []Lead
	for _, a := range at {
		leads = append(leads, Lead{At: a})
	}
	return lead(ctx, t, leads)
}

func lead(ctx context.Context, t Table, leads []Lead) error {
	at, err := t.Endpoints(ctx)
	if err != nil {
		return err
	}
	for open := false; ; {
		flows, err := t.Flows()
		if err != nil {
			return err
		}
		wrong := strays(flows, at, leads)
		going := slices.ContainsFunc(wrong, func(f Flow) bool { return !f.Ended })
		switch {
		case going:
			err, open = t.Lead(ctx, closed(leads, wrong)), false
		case !open:
			// A connection may have begun since, the old way: so the list is read again.
			err, open = t.Lead(ctx, leads), true
		case len(wrong) == 0:
			return nil
		}
		if err == nil {
			err = t.End(wrong)
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// closed returns the leads without new connections to the endpoints of the flows that go on.
func closed(leads []Lead, wrong []Flow) []Lead {
	out := slices.Clone(leads)
	for i := range out {
		if slices.ContainsFunc(wrong, func(f Flow) bool { return f.At == out[i].At && !f.Ended }) {
			out[i].To = nil
		}
	}
	return out
}

// strays returns the flows of the endpoints at the addresses that lead elsewhere than the
// leads say.
func strays(flows []Flow, at []netip.AddrPort, leads []Lead) []Flow {
	var out []Flow
	for _, f := range flows {
		if stray(f, at, leads) {
			out = append(out, f)
		}
	}
	return out
}

// stray is a connection that goes on at a member where it may not, or one that is over and
// would lead the next one of its port to a member that takes none.
func stray(f Flow, at []netip.AddrPort, leads []Lead) bool {
	i := slices.IndexFunc(leads, func(l Lead) bool { return l.At == f.At })
	switch {
	case i < 0:
		return slices.Contains(at, f.At) && (f.Ended || f.translated())
	case f.Ended:
		return !slices.Contains(leads[i].To, f.Member)
	case !f.translated():
		return false // the endpoint process has it
	default:
		return f.Member == leads[i].Former || !slices.Contains(leads[i].May, f.Member)
	}
}
