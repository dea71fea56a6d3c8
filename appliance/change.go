package appliance

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sort"
)

// Change is how an operation changes a cluster's spec and members. It is decided
// before the operation begins and stored with it, so that a resumed operation
// makes the same change.
type Change struct {
	// Standbys is the wanted number of standbys.
	Standbys int `json:"standbys"`
	// Add are the new members with their allocated facts.
	Add []Member `json:"add,omitempty"`
	// Remove are the standbys to remove, in this order.
	Remove []Member `json:"remove,omitempty"`
	// SetParameters is set if Parameters replace the spec's.
	SetParameters bool              `json:"set_parameters,omitempty"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	// Durability is set if the durability changes. Async ends the promise at once.
	Durability Durability `json:"durability,omitempty"`
	// Automatic is set if it changes whether pgapp acts by itself.
	Automatic Automatic `json:"automatic,omitempty"`
	// OnLastStandby is set if it changes what becomes of the promise without standbys.
	OnLastStandby OnLastStandby `json:"on_last_standby,omitempty"`
	// Endpoint holds the changed fields of the endpoints, if any.
	Endpoint *EndpointSpec `json:"endpoint,omitempty"`
	// Restart names the changed parameters that need a restart.
	Restart []string `json:"restart,omitempty"`
	// Size is set if the size of the virtual machines changes.
	Size *MachineSize `json:"size,omitempty"`
}

// MachineSize is a change of virtual machines' size. Fields that are 0 stay
// unchanged, also values that a person has set by hand. A disk never shrinks.
type MachineSize struct {
	VCPUs     int `json:"vcpus,omitempty"`
	MemoryMiB int `json:"memory_mib,omitempty"`
	DiskGiB   int `json:"disk_gib,omitempty"`
}

// Applied returns the record with the new members and the changed spec. Members
// to remove are still in it. A repeat changes nothing.
func (ch Change) Applied(c Cluster) Cluster {
	c.Members = slices.Clone(c.Members)
	for _, m := range ch.Add {
		if _, ok := c.Member(m.Name); !ok {
			c.Members = append(c.Members, m)
		}
	}
	n := ch.Standbys
	c.Spec.Standbys = &n
	if ch.SetParameters {
		c.Spec.Parameters = maps.Clone(ch.Parameters)
	}
	if ch.Durability != "" {
		c.Spec.Durability = ch.Durability
	}
	if ch.Automatic != "" {
		c.Spec.Automatic = ch.Automatic
	}
	if ch.OnLastStandby != "" {
		c.Spec.OnLastStandby = ch.OnLastStandby
	}
	if ch.Endpoint != nil {
		c.Spec.EndpointSpec = c.Spec.WithEndpoint(*ch.Endpoint)
	}
	if ch.Durability == DurabilityAsync { // before parameters that break the promise
		c.Promise, c.Sync = Promise{}, Promise{}
	}
	if ch.Size != nil {
		c.Spec.VCPUs = cmp.Or(ch.Size.VCPUs, c.Spec.VCPUs)
		c.Spec.MemoryMiB = cmp.Or(ch.Size.MemoryMiB, c.Spec.MemoryMiB)
		c.Spec.DiskGiB = cmp.Or(ch.Size.DiskGiB, c.Spec.DiskGiB)
	}
	return c
}

// Without returns the record without the removed members.
func (ch Change) Without(c Cluster) Cluster {
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m Member) bool { return ch.Removes(m.Name) && m.Name != c.Primary })
	return c
}

// Removes tells whether the change removes that member.
func (ch Change) Removes(name string) bool {
	return slices.ContainsFunc(ch.Remove, func(m Member) bool { return m.Name == name })
}

// Equal tells whether two operations have the same arguments. Why they began doesn't
// count.
func (p OperationParams) Equal(o OperationParams) bool {
	p.Reason, o.Reason = "", ""
	return reflect.DeepEqual(p, o)
}

// ScaleWish is a request to change the number of standbys; one of Standbys, Add and
// Remove is set.
type ScaleWish struct {
	// Standbys is the wanted number.
	Standbys *int
	// Add is the number of further standbys.
	Add int
	// Remove is the name of the standby to remove.
	Remove string
	// Force lets the last standby go that keeps the promise of quorum durability.
	Force bool
}

// UpOptions are the options of a request for a cluster.
type UpOptions struct {
	// DryRun asks for the plan only: an operation without an id, in state
	// planned, with the steps that would be done.
	DryRun bool
	// Check, if set, may refuse the request. It gets the cluster's revision, 0
	// if there is no cluster.
	Check func(revision uint64) error
}

// NewMembers returns the n lowest free member names.
func (c Cluster) NewMembers(n int) []string {
	var out []string
	for i := 0; len(out) < n; i++ {
		if _, taken := c.Member(MemberName(i)); !taken {
			out = append(out, MemberName(i))
		}
	}
	return out
}

// LastStandbys returns the n standbys with the highest numbers, highest first.
func (c Cluster) LastStandbys(n int) []Member {
	s := c.Standbys()
	sort.SliceStable(s, func(i, j int) bool {
		a, b := MemberNumber(s[i].Name), MemberNumber(s[j].Name)
		return a > b || a == b && s[i].Name > s[j].Name
	})
	return s[:min(max(n, 0), len(s))]
}
