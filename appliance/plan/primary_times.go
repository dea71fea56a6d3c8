package plan

import (
	"fmt"
	"strings"
	"time"

	"pgapp/appliance"
)

// times are how long this process has been in each phase of a change of primary.
type times struct{ laps []lap }

type lap struct {
	name string
	took time.Duration
}

// end notes the end of a phase that began at since. The time that a standby replays
// after the old primary has ended, if it was seen to end, counts apart.
func (t *times) end(phase appliance.ChangePhase, since, ended time.Time, now time.Time) {
	if phase == "" {
		return
	}
	if phase == appliance.ChangeStopping && ended.After(since) {
		t.laps = append(t.laps, lap{string(phase), ended.Sub(since)}, lap{"replaying", now.Sub(ended)})
		return
	}
	t.laps = append(t.laps, lap{string(phase), now.Sub(since)})
}

// note notes a part of a phase.
func (t *times) note(name string, took time.Duration) { t.laps = append(t.laps, lap{name, took}) }

// String lists the phases as "looking 120 ms, stopping 85 ms".
func (t *times) String() string {
	parts := make([]string, len(t.laps))
	for i, l := range t.laps {
		parts[i] = fmt.Sprintf("%s %d ms", l.name, l.took.Milliseconds())
	}
	return strings.Join(parts, ", ")
}
