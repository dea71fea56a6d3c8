package appliance_test

import (
	"reflect"
	"slices"
	"testing"

	"pgapp/appliance"
)

func clusterOf(primary string, names ...string) appliance.Cluster {
	n := len(names) - 1
	c := appliance.Cluster{Name: "main", Primary: primary, Spec: appliance.Spec{Standbys: &n}}
	for _, name := range names {
		c.Members = append(c.Members, appliance.Member{Name: name})
	}
	return c
}

func names(members []appliance.Member) []string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name)
	}
	return out
}

func TestAppliedIsIdempotentAndLeavesTheRecordAlone(t *testing.T) {
	t.Parallel()
	old := clusterOf("node0", "node0", "node1")
	ch := appliance.Change{Standbys: 2, Add: []appliance.Member{{Name: "node2"}}, SetParameters: true, Parameters: map[string]string{"work_mem": "8MB"}}
	once := ch.Applied(old)
	if got := names(once.Members); !slices.Equal(got, []string{"node0", "node1", "node2"}) || *once.Spec.Standbys != 2 || once.Spec.Parameters["work_mem"] != "8MB" {
		t.Errorf("applied: %+v", once)
	}
	if !reflect.DeepEqual(ch.Applied(once), once) {
		t.Error("applied twice differs from once")
	}
	once.Spec.Parameters["work_mem"] = "1MB"
	if len(old.Members) != 2 || *old.Spec.Standbys != 1 || ch.Parameters["work_mem"] != "8MB" {
		t.Errorf("the record or the change was changed: %+v, %+v", old, ch)
	}
}

func TestWithoutNeverRemovesThePrimary(t *testing.T) {
	t.Parallel()
	old := clusterOf("node1", "node0", "node1", "node2")
	ch := appliance.Change{Remove: []appliance.Member{{Name: "node0"}, {Name: "node1"}}}
	if got := names(ch.Without(old).Members); !slices.Equal(got, []string{"node1", "node2"}) {
		t.Errorf("left: %v", got)
	}
	if len(old.Members) != 3 {
		t.Error("the record was changed")
	}
}

func TestLastStandbysGoesByNumber(t *testing.T) {
	t.Parallel()
	c := clusterOf("node9", "node0", "node2", "node10", "node9", "node1")
	for n, want := range map[int][]string{-1: nil, 0: nil, 2: {"node10", "node2"}, 9: {"node10", "node2", "node1", "node0"}} {
		if got := names(c.LastStandbys(n)); !slices.Equal(got, want) {
			t.Errorf("the last %d: %v, want %v", n, got, want)
		}
	}
}

func TestMemberNumberReadsWhatMemberNameWrites(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{
		appliance.MemberName(0): 0, appliance.MemberName(7): 7, appliance.MemberName(10): 10,
		"": -1, "node": -1, "node-1": -1, "node01": -1, "node+1": -1, "1": -1, "db1": -1, "node1x": -1,
	} {
		if got := appliance.MemberNumber(name); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

func TestNewMembersTakesTheLowestFreeNames(t *testing.T) {
	t.Parallel()
	if got := clusterOf("node0", "node0", "node2").NewMembers(3); !slices.Equal(got, []string{"node1", "node3", "node4"}) {
		t.Errorf("%v", got)
	}
}

func TestRolesComeFromTheRecordAlone(t *testing.T) {
	t.Parallel()
	c := clusterOf("node1", "node0", "node1", "node2")
	if c.RoleOf("node0") != appliance.RoleStandby || c.RoleOf("node1") != appliance.RolePrimary || c.PrimaryMember().Name != "node1" {
		t.Errorf("%+v", c)
	}
	if got := names(c.Standbys()); !slices.Equal(got, []string{"node0", "node2"}) {
		t.Errorf("standbys %v", got)
	}
	if c.AnyWantStopped() {
		t.Error("nobody wants a member stopped")
	}
	c.Members[2].WantStopped = true
	if !c.AnyWantStopped() {
		t.Error("node2 is wanted stopped")
	}
	if got := appliance.SlotName("a-b"); got != "a_b" {
		t.Errorf("slot %q", got)
	}
}

func TestParseLSN(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]appliance.LSN{"": 0, "0/0": 0, "0/3054000": 0x3054000, "1A/FFFFFFFF": 0x1AFFFFFFFF, "ffffffff/1": 0xFFFFFFFF00000001} {
		if got, err := appliance.ParseLSN(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"/", "0", "0/", "/1", "0/1/2", "0/1 ", " 0/1", "+1/0", "-1/0", "0/G", "100000000/0", "0/100000000", "0/0x1", "0/1_0"} {
		if got, err := appliance.ParseLSN(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
