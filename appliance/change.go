package appliance

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sort"
)

// Change is how an operation changes a cluster's spec and members. It is
// decided before the operation begins, and stored with it: an operation that
// is resumed finds the same facts, whatever it has done of them.
type Change struct {
	// Standbys is how many the cluster shall have.
	Standbys int `json:"standbys"`
	// Add are the new members, with what was allocated for them.
	Add []Member `json:"add,omitempty"`
	// Remove are the standbys that go, in this order.
	Remove []Member `json:"remove,omitempty"`
	// SetParameters is set where Parameters take the place of the spec's.
	SetParameters bool              `json:"set_parameters,omitempty"`
	Parameters    map[string]string `json:"parameters,omitempty"`
	// Restart names those of the changed parameters that take a restart.
	Restart []string `json:"restart,omitempty"`
	// Size is set where the virtual machines get another one.
	Size *MachineSize `json:"size,omitempty"`
}

// MachineSize is what changes of the size of virtual machines; what is 0 stays,
// be it as a person has set it. A disk never becomes smaller.
type MachineSize struct {
	VCPUs     int `json:"vcpus,omitempty"`
	MemoryMiB int `json:"memory_mib,omitempty"`
	DiskGiB   int `json:"disk_gib,omitempty"`
}

// Applied is the cluster's record as it is once the members to add and the
// spec are on record: those to remove are still in it. A repeat does nothing.
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
	if ch.Size != nil {
		c.Spec.VCPUs = cmp.Or(ch.Size.VCPUs, c.Spec.VCPUs)
		c.Spec.MemoryMiB = cmp.Or(ch.Size.MemoryMiB, c.Spec.MemoryMiB)
		c.Spec.DiskGiB = cmp.Or(ch.Size.DiskGiB, c.Spec.DiskGiB)
	}
	return c
}

// Without is the record without the members that the change removes.
func (ch Change) Without(c Cluster) Cluster {
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m Member) bool { return ch.Removes(m.Name) && m.Name != c.Primary })
	return c
}

// Removes tells whether the member of that name goes.
func (ch Change) Removes(name string) bool {
	return slices.ContainsFunc(ch.Remove, func(m Member) bool { return m.Name == name })
}

// Equal tells whether two operations were asked for the same.
func (p OperationParams) Equal(o OperationParams) bool { return reflect.DeepEqual(p, o) }

// ScaleWish says how a cluster's standbys shall change; one field is set.
type ScaleWish struct {
	// Standbys is how many there shall be.
	Standbys *int
	// Add is how many more.
	Add int
	// Remove is the standby that shall go.
	Remove string
}

// UpOptions qualify the wish for a cluster.
type UpOptions struct {
	// DryRun asks for the plan only: an operation in state planned, without an
	// id, whose steps are what would be done.
	DryRun bool
	// Check, where it is set, may refuse the wish by the revision of the
	// cluster as it is, 0 where there is none.
	Check func(revision uint64) error
}

// NewMembers chooses the names of n further members: the lowest that are free.
func (c Cluster) NewMembers(n int) []string {
	var out []string
	for i := 0; len(out) < n; i++ {
		if _, taken := c.Member(MemberName(i)); !taken {
			out = append(out, MemberName(i))
		}
	}
	return out
}

// LastStandbys are the n standbys with the highest numbers, the highest first.
func (c Cluster) LastStandbys(n int) []Member {
	s := c.Standbys()
	sort.SliceStable(s, func(i, j int) bool {
		a, b := MemberNumber(s[i].Name), MemberNumber(s[j].Name)
		return a > b || a == b && s[i].Name > s[j].Name
	})
	return s[:min(max(n, 0), len(s))]
}
