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

// story says who is the primary now, and how long each phase took.
func (p primaryChange) story(ch appliance.PrimaryChange) string {
	if ch.Phase != appliance.ChangeDone {
		return p.times.String()
	}
	return strings.TrimSuffix(ch.To+" took over: "+p.times.String(), ": ")
}

// notWanted says why another member than the one that was asked for is the primary now,
// empty if it is the one.
func notWanted(ch appliance.PrimaryChange) string {
	if ch.Phase != appliance.ChangeDone || ch.Wanted == "" || ch.To == ch.Wanted {
		return ""
	}
	why := "does not answer"
	if ch.Why != nil && ch.Why.Unfit[ch.Wanted] != "" {
		why = ch.Why.Unfit[ch.Wanted]
	}
	return fmt.Sprintf("%s became the primary, since %s, which was asked for, %s", ch.To, ch.Wanted, why)
}

// says describes the phase, and what keeps it from going on.
func (p primaryChange) says(ch appliance.PrimaryChange) string {
	text := map[appliance.ChangePhase]string{
		appliance.ChangeLooking:    "looking at the standbys",
		appliance.ChangeStopping:   "stopping " + ch.From,
		appliance.ChangeFencing:    "killing " + ch.From + " and proving its end",
		appliance.ChangeElecting:   "choosing the new primary",
		appliance.ChangePromoting:  "promoting " + ch.To,
		appliance.ChangeRetracting: "killing " + ch.To + ", which was not promoted in time",
		appliance.ChangeReturning:  "starting " + ch.From + " again",
	}[ch.Phase]
	if p.trouble != nil {
		text += ": " + p.trouble.Error()
	}
	return text
}
