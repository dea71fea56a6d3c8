package plan

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

func TestBlockedCountsStandbysOfTheSettingThatStream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		setting appliance.Promise
		streams []string
		want    bool
	}{
		{appliance.Promise{}, nil, false},
		{ha.Over("node1", "node2"), []string{"node2"}, false},
		{ha.Over("node1", "node2"), nil, true},
		{ha.Over("node2"), []string{"node0"}, true}, // the other is dead, and the old primary not promised yet
		{ha.Over("node1", "node2", "node3"), []string{"node0", "node3"}, true},
		{ha.Over("node1", "node2", "node3"), []string{"node1", "node3"}, false},
	} {
		if got := blocked(tt.setting, tt.streams); got != tt.want {
			t.Errorf("%s with %v: %t", tt.setting, tt.streams, got)
		}
	}
}
