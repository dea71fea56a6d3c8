package op

import (
	"strings"

	"pgapp/appliance"
)

// report publishes a step's progress. What a member loses, and a note, go to the
// operation, and are in the journal when the step is.
func (l *run) report(step string, p appliance.Progress) {
	if d := p.Discarded; d != nil {
		l.update(func(o *appliance.Operation) { o.Discarded = withDiscarded(o.Discarded, *d) })
		p.Discarded = nil
	}
	if note := p.Note; note != "" {
		l.update(func(o *appliance.Operation) { o.Note = withNote(o.Note, note) })
		p.Note = ""
	}
	l.step(step, func(r *appliance.StepRecord) { r.Progress = p })
}

// withNote adds a note to those before it, once.
func withNote(before, note string) string {
	switch {
	case before == "":
		return note
	case strings.Contains(before, note):
		return before
	}
	return before + "; " + note
}

// withDiscarded returns the list with the member's entry, which replaces that of an
// earlier attempt.
func withDiscarded(list []appliance.Discarded, d appliance.Discarded) []appliance.Discarded {
	var out []appliance.Discarded
	for _, o := range list {
		if o.Member != d.Member {
			out = append(out, o)
		}
	}
	return append(out, d)
}
