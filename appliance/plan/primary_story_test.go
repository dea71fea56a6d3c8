package plan

import (
	"testing"
	"time"

	"pgapp/appliance"
)

func TestTimesListPhasesInOrder(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	for name, tc := range map[string]struct {
		ended time.Time
		want  string
	}{
		"the end of the old primary was seen": {at(150), "looking 100 ms, stopping 50 ms, replaying 10 ms, promoting 40 ms"},
		"it was not seen":                     {time.Time{}, "looking 100 ms, stopping 60 ms, promoting 40 ms"},
		"it ended before":                     {at(90), "looking 100 ms, stopping 60 ms, promoting 40 ms"},
	} {
		var l times
		l.end("", time.Time{}, tc.ended, at(0))
		l.end(appliance.ChangeLooking, at(0), tc.ended, at(100))
		l.end(appliance.ChangeStopping, at(100), tc.ended, at(160))
		l.end(appliance.ChangePromoting, at(160), tc.ended, at(200))
		if got := l.String(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
