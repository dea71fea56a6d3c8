package appliance

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Phase is the phase of a cluster's life.
type Phase string

// The phases. Degraded is observed, never stored.
const (
	PhaseCreating Phase = "creating"
	PhaseReady    Phase = "ready"
	PhaseDegraded Phase = "degraded"
	PhaseStopped  Phase = "stopped"
	PhaseFailed   Phase = "failed"
	PhaseRemoving Phase = "removing"
)

// Role is a member's role, recorded or observed.
type Role string

// The roles.
const (
	RolePrimary Role = "primary"
	RoleStandby Role = "standby"
)

// Cluster is the record of one cluster: the spec and the facts that were
// allocated or learnt. It holds no secrets.
type Cluster struct {
	Name string `json:"name"`
	// UUID tags every object that belongs to the cluster.
	UUID  string `json:"uuid"`
	Spec  Spec   `json:"spec"`
	Phase Phase  `json:"phase"`
	// WantStopped is set while the user wants the cluster, as a whole, stopped.
	WantStopped bool `json:"want_stopped,omitempty"`
	// Primary is the name of the only member that may run as primary.
	Primary string `json:"primary"`
	// Epoch grows with every change of primary.
	Epoch            uint64 `json:"epoch"`
	SystemIdentifier string `json:"system_identifier,omitempty"`
	// Template identifies the template that the data directories with this system
	// identifier are copies of. It is empty if initdb made the primary's, and in the
	// records of programs that did not note it.
	Template string `json:"template,omitempty"`
	// Initialised is set once the primary's data directory was seen complete.
	// From then on, a missing directory is a loss of data.
	Initialised bool   `json:"initialised,omitempty"`
	Timeline    uint32 `json:"timeline,omitempty"`
	// Ancestors are the ends of the timelines that Timeline descends from, oldest
	// first.
	Ancestors []Switch `json:"ancestors,omitempty"`
	// Promotions are the promotions on record, oldest first.
	Promotions []Promotion `json:"promotions,omitempty"`
	// Promise holds for every acknowledged commit, at every moment.
	Promise Promise `json:"promise,omitzero"`
	// Sync is what members' files are rendered with as synchronous_standby_names. It
	// implies Promise, and so does the setting in force before a change of Sync.
	Sync Promise `json:"sync,omitzero"`
	// Change is the change of primary under way, or the last one.
	Change *PrimaryChange `json:"change,omitempty"`
	// Pause keeps pgapp from acting by itself, if set.
	Pause *Pause `json:"pause,omitempty"`
	// Endpoints are the ports of the endpoints. They are nil if the cluster never had any.
	Endpoints *Endpoints `json:"endpoints,omitempty"`
	// EndpointsHeld is set once the endpoint process has listened at the ports. The cluster
	// keeps them from then on; before, a pair that another program gets is replaced.
	EndpointsHeld bool `json:"endpoints_held,omitempty"`
	// Resumed is when a user last had pgapp act by itself. Failovers before do not count
	// towards the limit after which a person has to look.
	Resumed   *time.Time `json:"resumed,omitempty"`
	Members   []Member   `json:"members"`
	CreatedAt time.Time  `json:"created_at"`
	// Binaries of PostgreSQL that local members run; fixed at creation.
	PostgresBin     string `json:"postgres_bin,omitempty"`
	PostgresVersion string `json:"postgres_version,omitempty"`
	// PostgresTree is set if PostgresBin is in pgapp's own tree.
	PostgresTree bool `json:"postgres_tree,omitempty"`
	// PostgresEnv is the environment of these programs, as KEY=VALUE.
	PostgresEnv []string `json:"postgres_env,omitempty"`
	// Revision grows with every stored change, except of Pause, Resumed and what is noted
	// of endpoints, and of what changes of primary note: Epoch, Timeline, Ancestors, Promotions, Promise, Sync, Change, and the
	// members' Epoch and Return. It is the ETag of the API.
	Revision uint64 `json:"revision"`
}

// Member is one PostgreSQL server of a cluster, with the facts allocated for it.
type Member struct {
	Name      string    `json:"name"`
	Placement Placement `json:"placement"`
	// Host is the address that clients and other members use.
	Host string `json:"host"`
	Port int    `json:"port"`
	// Slot is the physical replication slot that the member streams from.
	Slot string `json:"slot,omitempty"`
	// WantStopped is set while the user wants this member stopped.
	WantStopped bool `json:"want_stopped,omitempty"`
	// Epoch is the epoch in which the member last streamed from the primary, or was
	// the primary; 0 if unknown.
	Epoch uint64 `json:"epoch,omitempty"`
	// Return is set if the member has to be brought back before it may run.
	Return WayBack `json:"return,omitempty"`
	// UUID and MAC are set for virtual machines.
	UUID string `json:"uuid,omitempty"`
	MAC  string `json:"mac,omitempty"`
	// ControlFrom is this host's address in a virtual machine's network, from
	// which pgapp's own connections come.
	ControlFrom string `json:"control_from,omitempty"`
	// Domain is the libvirt domain's name.
	Domain string `json:"domain,omitempty"`
}

// Member returns the member of that name.
func (c Cluster) Member(name string) (Member, bool) {
	for _, m := range c.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// PrimaryMember returns the member that may be primary.
func (c Cluster) PrimaryMember() Member {
	m, _ := c.Member(c.Primary)
	return m
}

// Line returns the recorded timeline with its ancestors.
func (c Cluster) Line() Line { return Line{Timeline: c.Timeline, Ancestors: c.Ancestors} }

// Standbys returns every member but the primary, in order.
func (c Cluster) Standbys() []Member {
	var out []Member
	for _, m := range c.Members {
		if m.Name != c.Primary {
			out = append(out, m)
		}
	}
	return out
}

// AnyWantStopped tells whether the user wants the cluster or a member of it
// stopped.
func (c Cluster) AnyWantStopped() bool {
	return c.WantStopped || slices.ContainsFunc(c.Members, func(m Member) bool { return m.WantStopped })
}

// SharesMachine tells whether the cluster's members share a machine, and so its
// file system, memory and clock.
func (c Cluster) SharesMachine() bool { return c.Spec.Provider == ProviderLocal }

// RoleOf returns the member's recorded role.
func (c Cluster) RoleOf(name string) Role {
	if name == c.Primary {
		return RolePrimary
	}
	return RoleStandby
}

// MemberName returns the name of the n-th member. A name never implies a role.
func MemberName(n int) string { return namePrefix + strconv.Itoa(n) }

// MemberNumber returns n if the name is [MemberName] of n, else -1.
func MemberNumber(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, namePrefix))
	if err != nil || n < 0 || name != MemberName(n) {
		return -1
	}
	return n
}

const namePrefix = "node"

// NoMember returns the problem that a cluster has no member of that name.
func NoMember(cluster, member string) *Problem {
	return NewProblem(ErrNotFound, "cluster %q has no member %q", cluster, member).WithHint("pgapp ps shows the members")
}

// SlotName returns the name of a member's replication slot. PostgreSQL allows
// lower-case letters, digits and underscores (documentation section 26.2.6.1).
func SlotName(member string) string {
	out := []byte(member)
	for i, b := range out {
		if b == '-' {
			out[i] = '_'
		}
	}
	return string(out)
}
