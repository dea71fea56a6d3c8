package providertest

import (
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

// place is a member's address; no two members may share a place.
type place struct {
	host string
	port int
}

func testAllocate(t *testing.T, f Fixture) {
	first := f.cluster(t, "alpha", 4)
	var others []appliance.Member
	places := map[place]string{}
	record := func(t *testing.T, cluster string, members []appliance.Member) {
		t.Helper()
		for _, m := range members {
			at := place{m.Host, m.Port}
			if who, taken := places[at]; taken {
				t.Errorf("%s/%s got %v, which is %s's", cluster, m.Name, at, who)
			}
			places[at] = cluster + "/" + m.Name
			checkMember(t, m)
		}
		others = append(others, members...)
	}
	record(t, first.Name, first.Members)

	t.Run("a repeat chooses the same", func(t *testing.T) {
		again := f.cluster(t, "alpha", 4)
		for i, m := range again.Members {
			if got, want := (place{m.Host, m.Port}), (place{first.Members[i].Host, first.Members[i].Port}); got != want {
				t.Errorf("%s: got %v, want %v: Allocate has to change nothing", m.Name, got, want)
			}
		}
	})
	t.Run("other clusters get other places", func(t *testing.T) {
		for _, name := range []string{"beta", "gamma", "delta"} {
			record(t, name, f.cluster(t, name, 4, others...).Members)
		}
	})
	t.Run("new members get other places than the existing", func(t *testing.T) {
		rest := slices.DeleteFunc(slices.Clone(others), func(m appliance.Member) bool {
			return slices.ContainsFunc(first.Members, func(e appliance.Member) bool { return e.Host == m.Host && e.Port == m.Port })
		})
		got, err := f.Provider.Allocate(f.context(t), appliance.AllocateRequest{
			Spec: first.Spec, Cluster: first.Name, UUID: first.UUID,
			Names: memberNames(4, 2), Existing: first.Members, Others: rest,
		})
		if err != nil {
			t.Fatalf("Allocate: %v", err)
		}
		if diff := cmp.Diff(memberNames(4, 2), names(got)); diff != "" {
			t.Errorf("names differ (-want +got):\n%s", diff)
		}
		record(t, first.Name, got)
	})
}

func names(members []appliance.Member) []string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name)
	}
	return out
}

func checkMember(t *testing.T, m appliance.Member) {
	t.Helper()
	if net.ParseIP(m.Host) == nil {
		t.Errorf("%s: host %q is no address", m.Name, m.Host)
	}
	if m.Port < 1024 || m.Port > 65535 {
		t.Errorf("%s: port %d", m.Name, m.Port)
	}
	if got, want := m.Slot, appliance.SlotName(m.Name); got != want {
		t.Errorf("%s: slot %q, want %q", m.Name, got, want)
	}
	if m.Placement == "" {
		t.Errorf("%s: no placement", m.Name)
	}
}
