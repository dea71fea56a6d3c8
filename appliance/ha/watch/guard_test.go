package watch

import (
	"testing"
	"time"
)

func TestAnEventNeverPutsALookOff(t *testing.T) {
	t.Parallel()
	ended := time.Now() // the last look that an event asked for
	for name, c := range map[string]struct{ due, want time.Duration }{
		"a tick is brought closer":                {localTick, eventPause},
		"the look that has to agree stays":        {againPause, againPause},
		"a look that an earlier event asked for":  {eventPause, eventPause},
		"a look that is due already begins now":   {-time.Millisecond, -time.Millisecond},
		"one that a machine's tick would have on": {machineTick, eventPause},
	} {
		if got := woken(ended.Add(c.due), ended).Sub(ended); got != c.want {
			t.Errorf("%s: the look begins %s after the last one, want %s", name, got, c.want)
		}
	}
	if woken(ended.Add(localTick), time.Time{}).After(ended) {
		t.Error("the first event waits")
	}
}
