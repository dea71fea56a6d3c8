package postgres

import (
	"testing"

	"pgapp/appliance"
)

func TestStrandedStandbyAsksForASegmentBeyondThePrimary(t *testing.T) {
	t.Parallel()
	const begin = appliance.LSN(0x5043A48)
	primary := Standing{Received: begin + 500}
	standby := Standing{InRecovery: true, Waits: true, Received: 0x7000000, Replayed: begin}
	for name, tt := range map[string]struct {
		primary, standby Standing
		want             bool
	}{
		"half a record":            {primary, standby, true},
		"part of a segment":        {primary, Standing{InRecovery: true, Waits: true, Received: 0x7001000, Replayed: begin}, true},
		"in the same segment":      {primary, Standing{InRecovery: true, Waits: true, Received: begin + 1000, Replayed: begin}, false},
		"replays":                  {primary, Standing{InRecovery: true, Received: 0x7000000, Replayed: begin}, false},
		"beyond the fork":          {primary, Standing{InRecovery: true, Waits: true, Received: 0x7000000, Replayed: begin + 8}, false},
		"before the fork":          {primary, Standing{InRecovery: true, Waits: true, Received: 0x7000000, Replayed: begin - 8}, false},
		"takes writes":             {primary, Standing{Waits: true, Received: 0x7000000, Replayed: begin}, false},
		"the primary was replaced": {Standing{InRecovery: true, Received: begin}, standby, false},
		"the primary has the WAL":  {Standing{Received: 0x7000000}, standby, false},
	} {
		asks, is := tt.standby.Stranded(tt.primary, begin)
		if is != tt.want || is && asks != 0x7000000 {
			t.Errorf("%s: got %t, and it asks for %s", name, is, asks)
		}
	}
}

func TestSegmentNameIsPostgreSQLs(t *testing.T) {
	t.Parallel()
	for at, want := range map[appliance.LSN]string{
		0:                "000000020000000000000000",
		0x5000000:        "000000020000000000000005",
		0xFF000000:       "0000000200000000000000FF",
		0x0000001A000000: "00000002000000000000001A",
		0x12A01000000:    "000000020000012A00000001",
	} {
		if got := segmentName(2, at); got != want {
			t.Errorf("%s: got %s, want %s", at, got, want)
		}
	}
}
