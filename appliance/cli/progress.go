package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"pgapp/appliance"
)

// progress shows an operation on standard error: a line for each step that has
// ended. On a terminal a further line, rewritten in place, shows the running steps;
// elsewhere a long step has lines of its own.
type progress struct {
	to     *screen
	shown  map[string]bool
	live   bool
	status string
	// told is the last line about each running step.
	told map[string]telling
}

// telling counts from when the step was first seen to run: the daemon's clock
// may be another host's.
type telling struct {
	begun, at time.Time
	what      string
}

// tellEvery is the least pause between two lines about a running step without a
// terminal: a script's log shows progress and stays readable.
const tellEvery = 10 * time.Second

func (s *screen) newProgress() *progress {
	return &progress{to: s, shown: map[string]bool{}, told: map[string]telling{}, live: terminal(s.Err) && s.colours()}
}

// show takes a snapshot. Calling it again with the same one prints nothing new.
func (p *progress) show(o appliance.Operation) {
	if p.to.quiet {
		return
	}
	var b strings.Builder
	if o.Note != "" && !p.shown["note"] {
		p.shown["note"] = true
		fmt.Fprintf(&b, "  %s\n", clean(o.Note))
	}
	for _, s := range o.Steps {
		if p.shown[s.ID] || s.State != appliance.StepDone && s.State != appliance.StepFailed {
			continue
		}
		p.shown[s.ID] = true
		b.WriteString(p.line(s))
		if s.Error != nil && !o.State.Final() { // else the operation's error follows at once
			fmt.Fprintf(&b, "  %s\n", clean(s.Error.Message))
		}
	}
	if !p.live {
		p.tell(&b, o, time.Now())
	}
	if b.Len() > 0 {
		p.erase()
		_, _ = io.WriteString(p.to.Err, b.String())
	}
	p.rewrite(underWay(o))
}

// tell writes a line for each long step whose progress has changed.
func (p *progress) tell(b *strings.Builder, o appliance.Operation, now time.Time) {
	for _, s := range o.Steps {
		if s.State != appliance.StepRunning {
			continue
		}
		last, ok := p.told[s.ID]
		if !ok {
			last = telling{begun: now, at: now}
			p.told[s.ID] = last
		}
		what := clean(describe(s.Progress))
		if what == "" || what == last.what || now.Sub(last.at) < tellEvery {
			continue
		}
		p.told[s.ID] = telling{last.begun, now, what}
		fmt.Fprintf(b, "· %-*s %-7s %8.0fs  %s\n", titleWidth, clean(s.Title), s.Member, now.Sub(last.begun).Seconds(), what)
	}
}

const titleWidth = 34

// line describes a step that has ended.
func (p *progress) line(s appliance.StepRecord) string {
	mark := p.to.paint("32", "✓")
	if s.State == appliance.StepFailed {
		mark = p.to.paint("31", "✗")
	}
	took := fmt.Sprintf("%.2fs", s.Seconds)
	if s.AlreadyDone {
		took = "as it was"
	}
	line := fmt.Sprintf("%s %-*s %-7s %9s", mark, titleWidth, clean(s.Title), s.Member, took)
	if d := describe(s.Progress); d != "" && !s.AlreadyDone {
		line += "  " + clean(d)
	}
	return strings.TrimRight(line, " ") + "\n"
}

func describe(p appliance.Progress) string {
	if p.BytesDone == 0 {
		return p.Detail
	}
	return strings.TrimSpace(p.Detail + " " + humanize.IBytes(uint64(max(p.BytesDone, 0))))
}

// underWay sums up the running steps.
func underWay(o appliance.Operation) string {
	if o.State.Final() {
		return ""
	}
	var parts []string
	for _, s := range o.Steps {
		if s.State != appliance.StepRunning {
			continue
		}
		part := s.Title
		if s.Member != "" {
			part += " " + s.Member
		}
		if s.Progress.BytesTotal > 0 {
			part += " " + bar(s.Progress)
		} else if s.Progress.Detail != "" {
			part += ": " + s.Progress.Detail
		}
		if s.StartedAt != nil && time.Since(*s.StartedAt) > time.Second {
			part += fmt.Sprintf(" %.0fs", time.Since(*s.StartedAt).Seconds())
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " · ")
}

// bar draws how many of a step's bytes are done.
func bar(p appliance.Progress) string {
	const cells = 10
	full := int(min(p.BytesDone, p.BytesTotal) * cells / p.BytesTotal)
	return fmt.Sprintf("[%s%s] %s/%s", strings.Repeat("#", full), strings.Repeat(".", cells-full),
		humanize.IBytes(uint64(p.BytesDone)), humanize.IBytes(uint64(p.BytesTotal)))
}

// rewrite replaces the line of the running steps. The line leaves the last
// column free, so that no terminal breaks it.
func (p *progress) rewrite(status string) {
	if !p.live {
		return
	}
	status = fit(clean(status), width(p.to.Err)-1)
	if status == p.status {
		return
	}
	_, _ = fmt.Fprintf(p.to.Err, "\r\x1b[K%s", status)
	p.status = status
}

func (p *progress) erase() {
	if p.live && p.status != "" {
		_, _ = io.WriteString(p.to.Err, "\r\x1b[K")
		p.status = ""
	}
}
