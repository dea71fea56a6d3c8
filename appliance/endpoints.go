package appliance

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// EndpointMode says whether a cluster has endpoints, and by which means.
type EndpointMode string

// The values of [EndpointSpec.Endpoint].
const (
	EndpointOn  EndpointMode = "on"
	EndpointOff EndpointMode = "off"
	// EndpointKernel has the kernel lead connections by translating addresses: faster,
	// but new connections are refused during a change, since the kernel can't wait.
	EndpointKernel EndpointMode = "kernel"
)

// EndpointHost is the address of the endpoints, but of those that the kernel leads to
// virtual machines. Clients from elsewhere would need TLS in PostgreSQL.
const EndpointHost = "127.0.0.1"

// Defaults and limits of an [EndpointSpec].
const (
	DefaultEndpointWait = 10 * time.Second
	DefaultROLagMiB     = 16
	maxEndpointWait     = 10 * time.Minute
	maxROLagMiB         = 1 << 20
)

// EndpointSpec is the part of a spec that is about the addresses of a cluster's
// endpoints. All of it may change in place. Empty fields mean the defaults.
type EndpointSpec struct {
	Endpoint     EndpointMode `json:"endpoint,omitempty" yaml:"endpoint,omitempty" doc:"on, off or kernel: an address for writes and one for reads that follow the primary by themselves (default on for a new cluster); with kernel, which root only can use, the kernel leads the connections: faster, and those that begin during a change are refused"`
	EndpointWait string       `json:"endpoint_wait,omitempty" yaml:"endpoint_wait,omitempty" doc:"how long a new connection through an endpoint waits while no member takes it (default 10s)"`
	ROLagMiB     int          `json:"ro_lag_mib,omitempty" yaml:"ro_lag_mib,omitempty" doc:"a standby that is further behind, in MiB, gets no new connections for reads (default 16)"`
	ROPrimary    ROPrimary    `json:"ro_primary,omitempty" yaml:"ro_primary,omitempty" doc:"when reads lead to the primary: never, last (if no standby takes them) or always (default last)"`
}

// WithDefaults returns the spec with each empty field set to a new cluster's default.
func (e EndpointSpec) WithDefaults() EndpointSpec {
	e.Endpoint = cmp.Or(e.Endpoint, EndpointOn)
	e.EndpointWait = cmp.Or(e.EndpointWait, DefaultEndpointWait.String())
	e.ROLagMiB = cmp.Or(e.ROLagMiB, DefaultROLagMiB)
	e.ROPrimary = cmp.Or(e.ROPrimary, ROPrimaryLast)
	return e
}

// HasEndpoints tells whether the cluster has endpoints. The clusters of older programs, whose
// specs say nothing of them, have none.
func (e EndpointSpec) HasEndpoints() bool {
	return e.Endpoint == EndpointOn || e.Endpoint == EndpointKernel
}

// RouteWait is how long a new connection waits.
func (e EndpointSpec) RouteWait() time.Duration {
	d, err := time.ParseDuration(e.EndpointWait)
	if err != nil { // an empty field
		return DefaultEndpointWait
	}
	return d
}

// ROLag is how far a standby that takes new connections may be behind.
func (e EndpointSpec) ROLag() LSN {
	return LSN(cmp.Or(e.ROLagMiB, DefaultROLagMiB)) << 20 //nolint:gosec // validated
}

// WithEndpoint returns the spec with the fields that are set in the wish.
func (e EndpointSpec) WithEndpoint(wish EndpointSpec) EndpointSpec {
	return EndpointSpec{
		Endpoint: cmp.Or(wish.Endpoint, e.Endpoint), EndpointWait: cmp.Or(wish.EndpointWait, e.EndpointWait),
		ROLagMiB: cmp.Or(wish.ROLagMiB, e.ROLagMiB), ROPrimary: cmp.Or(wish.ROPrimary, e.ROPrimary),
	}
}

// EndpointWishes returns the fields of the wish that would change something, nil if none would.
func (e EndpointSpec) EndpointWishes(wish EndpointSpec) *EndpointSpec {
	have := e.WithDefaults()
	if !e.HasEndpoints() {
		have.Endpoint = EndpointOff
	}
	var out EndpointSpec
	if wish.Endpoint != have.Endpoint {
		out.Endpoint = wish.Endpoint
	}
	if wish.EndpointWait != "" && wish.RouteWait() != have.RouteWait() {
		out.EndpointWait = wish.EndpointWait
	}
	if wish.ROLagMiB != have.ROLagMiB {
		out.ROLagMiB = wish.ROLagMiB
	}
	if wish.ROPrimary != have.ROPrimary {
		out.ROPrimary = wish.ROPrimary
	}
	if out == (EndpointSpec{}) {
		return nil
	}
	return &out
}

func (e EndpointSpec) validateEndpoint(v *fieldErrors) {
	switch e.Endpoint {
	case "", EndpointOn, EndpointOff, EndpointKernel:
	default:
		v.add("endpoint", endpointMessage(string(e.Endpoint)))
	}
	if e.EndpointWait != "" {
		d, err := time.ParseDuration(e.EndpointWait)
		v.check("endpoint_wait", err == nil && d >= 0 && d <= maxEndpointWait, "has to be a time from 0s to %s, such as 10s", maxEndpointWait)
	}
	v.check("ro_lag_mib", e.ROLagMiB >= 0 && e.ROLagMiB <= maxROLagMiB, "has to be 1 to %d", maxROLagMiB)
	v.oneOf("ro_primary", string(e.ROPrimary), "", string(ROPrimaryNever), string(ROPrimaryLast), string(ROPrimaryAlways))
}

// endpointMessage says why the value is refused. An address is a wish that people have.
func endpointMessage(value string) string {
	if strings.ContainsAny(value, ".:") || value == "localhost" {
		return fmt.Sprintf("takes no address: endpoints listen on %s only, since clients from elsewhere need TLS in PostgreSQL, which pgapp does not set up; pgapp chooses the ports", EndpointHost)
	}
	return fmt.Sprintf("has to be one of on, off, kernel, not %q", value)
}

// FirstEndpointPort is where the search for a cluster's ports begins.
const FirstEndpointPort = 5000

// Endpoints are the ports of a cluster's endpoints, which it keeps for its life.
type Endpoints struct {
	RW int `json:"rw" yaml:"rw"`
	RO int `json:"ro" yaml:"ro"`
}

// RWAddress and ROAddress are where the endpoints listen.
func (e Endpoints) RWAddress() string { return endpointAddress(e.RW) }

// ROAddress is the address for reads.
func (e Endpoints) ROAddress() string { return endpointAddress(e.RO) }

func endpointAddress(port int) string { return net.JoinHostPort(EndpointHost, strconv.Itoa(port)) }

// EndpointHost is the address of the cluster's endpoints. The kernel reaches a virtual
// machine only from this host's address in the machine's network, since it lets nothing
// with an address of 127.0.0.0/8 leave the loopback device.
func (c Cluster) EndpointHost() string {
	if c.Spec.Endpoint == EndpointKernel {
		for _, m := range c.Members {
			if m.ControlFrom != "" {
				return m.ControlFrom
			}
		}
	}
	return EndpointHost
}

// EndpointAddresses returns where the cluster's endpoints for writes and for reads listen.
// The cluster has ports.
func (c Cluster) EndpointAddresses() (rw, ro string) {
	host := c.EndpointHost()
	return net.JoinHostPort(host, strconv.Itoa(c.Endpoints.RW)), net.JoinHostPort(host, strconv.Itoa(c.Endpoints.RO))
}

// FreeEndpoints returns the first pair of ports that no other cluster has and that are
// free by that function, or false if there is none.
func FreeEndpoints(others []Cluster, free func(port int) bool) (Endpoints, bool) {
	taken := map[int]bool{}
	for _, c := range others {
		if e := c.Endpoints; e != nil {
			taken[e.RW], taken[e.RO] = true, true
		}
	}
	const last = 65535
	for port := FirstEndpointPort; port < last; port += 2 {
		if !taken[port] && !taken[port+1] && free(port) && free(port+1) {
			return Endpoints{RW: port, RO: port + 1}, true
		}
	}
	return Endpoints{}, false
}

// SharesEndpoint tells whether the two clusters have a port in common.
func (c Cluster) SharesEndpoint(o Cluster) bool {
	a, b := c.Endpoints, o.Endpoints
	return a != nil && b != nil && (a.RW == b.RW || a.RO == b.RO || a.RW == b.RO || a.RO == b.RW)
}
