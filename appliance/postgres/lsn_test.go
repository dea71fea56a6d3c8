package postgres

import "testing"

func TestNotAheadFailsStandbyBeyondPrimary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		primary string
		standby Observation
		want    bool
	}{
		{"0/387C000", Observation{InRecovery: true, LSN: "0/3884A28"}, false},
		{"0/387C000", Observation{InRecovery: true, LSN: "0/387C000", ReceiveLSN: "1/0"}, false},
		{"1/0", Observation{InRecovery: true, LSN: "0/FFFFFFFF", ReceiveLSN: "1/0"}, true},
		{"0/387C000", Observation{InRecovery: true, LSN: "0/387C000"}, true},
	} {
		if got := notAhead(c.primary, c.standby); got.ok != c.want {
			t.Errorf("%s, %+v: %+v", c.primary, c.standby, got)
		}
	}
}
