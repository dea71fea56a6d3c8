package plan

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// TestFlushedForgetsThePositionWhereAnotherSettingCame looks at a primary for which one
// standby is wanted again, after another setting was in force, or was written to the files.
// Commits that the other one let through are behind the old position.
func TestFlushedForgetsThePositionWhereAnotherSettingCame(t *testing.T) {
	t.Parallel()
	want, other := ha.Over("node1"), ha.Over("node1", "node2")
	for _, tt := range []struct {
		name           string
		inForce, files appliance.Promise
	}{
		{"another is in force", other, want},
		{"another is in the files", want, other},
	} {
		p := settling{moment: &moment{want: want, at: 100}}
		f := facts{cluster: appliance.Cluster{Promise: other, Sync: tt.files}}
		// Without a session: nothing may be asked.
		ok, err := func() (ok bool, err error) {
			defer func() {
				if recover() != nil {
					t.Errorf("%s: the standbys were asked for the old position", tt.name)
				}
			}()
			return p.flushed(t.Context(), f, nil, tt.inForce, want)
		}()
		if ok || err != nil || p.moment.at != 0 {
			t.Errorf("%s: flushed %t, %v, and the position is %s", tt.name, ok, err, p.moment.at)
		}
	}
}
