package appliance

import "time"

// Routes is the whole state of the endpoint process: where the endpoints of a home's
// clusters lead. Number grows with each state; the process refuses a state whose number is
// not greater than that of the state it holds.
type Routes struct {
	Number   uint64  `json:"number"`
	Clusters []Route `json:"clusters"`
}

// Route is where one cluster's endpoints lead.
type Route struct {
	Cluster string `json:"cluster"`
	// RW and RO are the addresses to listen at, such as "127.0.0.1:5000". An empty
	// address closes that endpoint.
	RW string `json:"rw"`
	RO string `json:"ro"`
	// Primary is the member that rw leads to. With nil, rw leads nowhere: open
	// connections are cut and new ones wait.
	Primary *RouteMember `json:"primary,omitempty"`
	// Closed makes new rw connections wait, at most for Wait. Connections that are open
	// to Primary go on.
	Closed bool `json:"closed,omitempty"`
	// Wait is how long a new connection waits for a member before it is refused with
	// SQLSTATE 57P03.
	Wait time.Duration `json:"wait"`
	// Standbys are the members that ro leads to. Connections to a standby that is no
	// longer listed are drained.
	Standbys []RouteStandby `json:"standbys,omitempty"`
	// ROPrimary tells when ro leads to Primary.
	ROPrimary ROPrimary `json:"ro_primary"`
	// MaxConnections limits the open and waiting connections of each endpoint; further
	// ones are refused with SQLSTATE 53300. 0 means [DefaultMaxConnections].
	MaxConnections int `json:"max_connections,omitempty"`
	// Kernel is set if the kernel leads the connections. The endpoint process has the
	// ports nevertheless, and serves what the kernel does not translate.
	Kernel bool `json:"kernel,omitempty"`
}

// DefaultMaxConnections is the limit of connections of an endpoint.
const DefaultMaxConnections = 1000

// RouteMember is a member and the address of its PostgreSQL, such as "127.0.122.1:5432".
type RouteMember struct {
	Name    string `json:"name" yaml:"name"`
	Address string `json:"address" yaml:"address"`
}

// RouteStandby is a member that ro leads to.
type RouteStandby struct {
	RouteMember
	// New is set if the standby takes new connections. Without it the standby keeps
	// those that it has.
	New bool `json:"new,omitempty"`
	// Drain is set if the standby is about to be stopped or removed: its connections
	// may end by themselves for 10 seconds and are cut then.
	Drain bool `json:"drain,omitempty"`
}

// ROPrimary tells when the ro endpoint leads to the primary.
type ROPrimary string

// The choices.
const (
	ROPrimaryNever  ROPrimary = "never"  // connections wait for a standby
	ROPrimaryLast   ROPrimary = "last"   // only if no standby takes the connection
	ROPrimaryAlways ROPrimary = "always" // like a standby
)

// RouteStatus is what the endpoint process says about itself.
type RouteStatus struct {
	// Number is that of the state that the process holds; 0 before the first.
	Number uint64 `json:"number"`
	PID    int    `json:"pid"`
	// Build identifies the program that the process runs.
	Build     string    `json:"build"`
	StartedAt time.Time `json:"started_at"`
	// Draining counts earlier processes that still carry connections. The counts below
	// include theirs.
	Draining int                  `json:"draining,omitempty"`
	Clusters []ClusterRouteStatus `json:"clusters"`
}

// Cluster returns the status of the cluster's endpoints.
func (s RouteStatus) Cluster(name string) (c ClusterRouteStatus, ok bool) {
	for _, c := range s.Clusters {
		if c.Cluster == name {
			return c, true
		}
	}
	return ClusterRouteStatus{}, false
}

// ClusterRouteStatus is the status of one cluster's endpoints.
type ClusterRouteStatus struct {
	Cluster string `json:"cluster"`
	// Primary and Closed are those of the state that the process holds.
	Primary *RouteMember   `json:"primary,omitempty"`
	Closed  bool           `json:"closed,omitempty"`
	RW      EndpointStatus `json:"rw"`
	RO      EndpointStatus `json:"ro"`
}

// EndpointsStatus is what is known of a cluster's endpoints.
type EndpointsStatus struct {
	// Endpoints are the ports on record.
	Endpoints `yaml:",inline"`
	// Host is the address that the ports are on, if it is not 127.0.0.1.
	Host string `json:"host,omitempty" yaml:"host,omitempty"`
	// Kernel is set where the kernel leads the connections: none of them waits, and the
	// kernel doesn't count those that it cuts.
	Kernel bool `json:"kernel,omitempty" yaml:"kernel,omitempty"`
	// Writes and Reads are what the endpoint process says. They are nil if it says
	// nothing, and Problem then says why.
	Writes *EndpointStatus `json:"writes,omitempty" yaml:"writes,omitempty"`
	Reads  *EndpointStatus `json:"reads,omitempty" yaml:"reads,omitempty"`
	// Problem says why the endpoints do not follow the primary now, if they don't.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// EndpointStatus is the status of one endpoint.
type EndpointStatus struct {
	Address string `json:"address" yaml:"address"`
	// To lists the members that new connections are led to. It is empty while they wait.
	// The primary is left out where reads lead there only if no standby takes them.
	To []string `json:"to" yaml:"to"`
	// Since is when To last changed.
	Since time.Time `json:"since" yaml:"since"`
	// Open and Waiting count the connections that lead to a member and those that wait
	// for one.
	Open    int `json:"open" yaml:"open"`
	Waiting int `json:"waiting" yaml:"waiting"`
	// Cut counts the connections that the endpoint has cut since the process started.
	Cut     uint64            `json:"cut" yaml:"cut"`
	Members []MemberConnCount `json:"members,omitempty" yaml:"members,omitempty"`
	// Problem says why the endpoint does not listen at its address. The process tries
	// again by itself.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// MemberConnCount is the number of an endpoint's connections that are open to a member.
type MemberConnCount struct {
	RouteMember `yaml:",inline"`
	Open        int `json:"open" yaml:"open"`
}
