package local

import (
	"os"
	"testing"

	"pgapp/appliance"
)

// TestSignOfKnownPostmasterFollowsItsPlace asks for the sign of a postmaster that is
// known already, after something took the member from it.
func TestSignOfKnownPostmasterFollowsItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, m *machine)
		want   appliance.Vital
		fails  bool
	}{
		"nothing changes": {func(*testing.T, *machine) {}, appliance.VitalRunning, false},
		"its data directory is renamed": {func(t *testing.T, m *machine) {
			t.Helper()
			rename(t, m.Layout().DataDir, m.Layout().DataDir+".old")
		}, appliance.VitalGone, false},
		"its member's directory is renamed": {func(t *testing.T, m *machine) {
			t.Helper()
			rename(t, m.dir, m.dir+".old")
			t.Cleanup(func() { rename(t, m.dir+".old", m.dir) })
		}, appliance.VitalGone, false},
		"the marker names another cluster": {func(t *testing.T, m *machine) {
			t.Helper()
			was := m.marker()
			if err := writeMarker(m.dir, marker{ClusterUUID: "other", Cluster: was.Cluster, Member: was.Member}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := writeMarker(m.dir, was); err != nil {
					t.Error(err)
				}
			})
		}, appliance.VitalUnknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := made(t, selfProvider(t))
			p, _ := standIn(t, m)
			if got := sign(t, m); got.Vital != appliance.VitalRunning {
				t.Fatalf("the sign of a running process is %+v", got)
			}
			if got, _, ok := m.p.known.recognize(m); !ok || got.p != p {
				t.Fatalf("the postmaster %v is not known, but %v", p, got)
			}
			c.change(t, m)
			in := clusterOf(m)
			if got, err := m.p.Sign(testContext(t), in, in.Members[0]); got.Vital != c.want || (err != nil) != c.fails {
				t.Errorf("got %+v, %v; want %q, an error: %t", got, err, c.want, c.fails)
			}
		})
	}
}

// TestAnotherProcessOfTheNumberIsNotKnown knows a process by its start too.
func TestAnotherProcessOfTheNumberIsNotKnown(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	standIn(t, m)
	sign(t, m)
	known := m.p.known.of[m.acquaintanceKey()]
	known.start += "0"
	m.p.known.of[m.acquaintanceKey()] = known
	if _, _, ok := m.p.known.recognize(m); ok {
		t.Error("a process that started at another time is taken for the postmaster")
	}
	if got := sign(t, m); got.Vital != appliance.VitalRunning {
		t.Errorf("the sign of the process that is there is %+v", got)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
