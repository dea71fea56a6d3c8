package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// The names of the endpoints' checks.
const (
	CheckEndpointRW = "endpoint-rw"
	CheckEndpointRO = "endpoint-ro"
)

const (
	// endpointWait is how long an endpoint may take to lead where it has to: it follows
	// within moments of a start or a change of primary.
	endpointWait = 5 * time.Second
	endpointPoll = 100 * time.Millisecond
)

// EndpointInput is what [VerifyEndpoints] knows of a cluster.
type EndpointInput struct {
	VerifyInput
	// Host, RW and RO are the addresses of the endpoints.
	Host   string
	RW, RO int
	// ROPrimary says when reads may lead to the primary.
	ROPrimary appliance.ROPrimary
}

// VerifyEndpoints connects through each endpoint once, as pgapp and as the application:
// the one for writes has to lead to the primary and to take a write, the one for reads to
// a standby. A check's member is the one that it was led to.
func VerifyEndpoints(ctx context.Context, in EndpointInput) (checks []appliance.Check, proven bool) {
	var rw, ro appliance.Check
	var rwProven, roProven bool
	var wg sync.WaitGroup
	wg.Go(func() { rw, rwProven = in.check(ctx, CheckEndpointRW, in.RW, in.judgeRW) })
	wg.Go(func() { ro, roProven = in.check(ctx, CheckEndpointRO, in.RO, in.judgeRO) })
	wg.Wait()
	return []appliance.Check{rw, ro}, rwProven && roProven
}

// check tries the endpoint until it leads where it has to, or for a while.
func (in EndpointInput) check(ctx context.Context, name string, port int, judge judgement) (c appliance.Check, proven bool) {
	var to Target
	var v verdict
	limited, cancel := context.WithTimeout(ctx, endpointWait)
	defer cancel()
	_ = wait.Until(limited, endpointPoll, func(context.Context) (bool, error) {
		to, v = in.through(ctx, port, judge) // its sessions have limits of their own
		return v.ok && !v.skipped, nil
	})
	return appliance.Check{Name: name, Member: to.Member, OK: v.ok, Skipped: v.skipped, Detail: v.detail}, !v.skipped || v.excused
}

// judgement judges a session with the member.
type judgement func(ctx context.Context, c *Control, to Target) verdict

// through connects through an endpoint and judges the member that it leads to.
func (in EndpointInput) through(ctx context.Context, port int, judge judgement) (Target, verdict) {
	c, err := Connect(ctx, in.Host, port, MaintenanceDatabase, in.Password)
	if err != nil {
		return Target{}, fail("%s", why(err))
	}
	defer c.closeQuietly(ctx)
	to, err := in.member(ctx, c)
	if err != nil {
		return Target{}, fail("%s", why(err))
	}
	v := judge(ctx, c, to)
	if !v.ok || v.skipped {
		return to, v
	}
	app, err := ConnectAs(ctx, RoleApp, in.Host, port, in.Database, in.AppPassword)
	if err != nil {
		return to, fail("role %s can't log in through %s: %s", RoleApp, address(in.Host, port), why(err))
	}
	app.closeQuietly(ctx)
	v.detail = address(in.Host, port) + " " + v.detail
	return to, v
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// member returns the member at the other end.
func (in EndpointInput) member(ctx context.Context, c *Control) (Target, error) {
	var host, identifier string
	var port int
	err := c.row(ctx, "SELECT host(inet_server_addr()), inet_server_port(), system_identifier::text FROM pg_control_system()", nil, &host, &port, &identifier)
	if err != nil {
		return Target{}, err
	}
	if in.SystemIdentifier != "" && identifier != in.SystemIdentifier {
		return Target{}, fmt.Errorf("the server at its other end has system identifier %s, not %s", identifier, in.SystemIdentifier)
	}
	for _, t := range in.Targets {
		if t.Host == host && t.Port == port {
			return t, nil
		}
	}
	return Target{}, fmt.Errorf("it leads to %s, which is no member", address(host, port))
}

func (in EndpointInput) judgeRW(ctx context.Context, c *Control, to Target) verdict {
	if !to.Primary {
		return fail("leads to %s, which is no primary on record", to.Member)
	}
	if err := c.ProveWrite(ctx); err != nil {
		return fail("leads to %s, which takes no write: %s", to.Member, why(err))
	}
	return pass("leads to %s, which took a write", to.Member)
}

func (in EndpointInput) judgeRO(ctx context.Context, c *Control, to Target) verdict {
	var recovering bool
	if err := c.row(ctx, "SELECT pg_is_in_recovery()", nil, &recovering); err != nil {
		return fail("leads to %s, which takes no query: %s", to.Member, why(err))
	}
	switch {
	case recovering:
		return pass("leads to %s, a standby", to.Member)
	case in.ROPrimary == appliance.ROPrimaryAlways || len(in.Targets) == 1 && in.ROPrimary == appliance.ROPrimaryLast:
		return pass("leads to %s, the primary", to.Member)
	case in.ApplyDelay != "":
		return excuse("leads to %s, the primary: the standbys' replay is delayed by %s", to.Member, in.ApplyDelay)
	}
	return fail("leads to %s, the primary: no standby takes reads", to.Member)
}
