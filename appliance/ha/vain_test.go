package ha_test

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance/ha"
)

// TestDecideStartsThePrimaryWhereFailoversComeToNothing has a dead primary, and standbys that
// seem fit and that no failover promotes, as where their replay is paused.
func TestDecideStartsThePrimaryWhereFailoversComeToNothing(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.gone("node0")
	var m ha.Memory
	var got []string
	for i := range 200 {
		var acts []ha.Act
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), time.Duration(i)*tick)
		for _, a := range acts {
			if a.Withheld != "" {
				continue
			}
			got = append(got, string(a.Deed))
			if a.Deed == ha.Revive && (!a.Fence || !strings.Contains(a.Evidence, "failovers have come to nothing")) {
				t.Errorf("the primary is started by %+v", a)
			}
		}
	}
	if all := strings.Join(got, " "); !strings.HasPrefix(all, "replace replace revive replace revive") {
		t.Errorf("the deeds are %s", all)
	}

	t.Log("a restart mends no disk")
	c, m = newScene(), ha.Memory{}
	for i := range 200 {
		c.stalled()
		c.member("node2").Write = ha.Answers
		var acts []ha.Act
		m, acts = ha.Decide(m, c.s, ha.LocalPace(), time.Duration(i)*tick)
		for _, a := range acts {
			if a.Deed == ha.Revive {
				t.Fatalf("the primary is started by %+v", a)
			}
		}
	}
}
