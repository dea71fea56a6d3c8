//go:build e2e

package cli_test

import (
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
)

const (
	// firstLimit is for a first boot, while none was measured in this run: an
	// emulated guest on a busy machine answers after 1 to 5 minutes.
	firstLimit = 20 * time.Minute
	// longestBoots is how many times as long as a boot a command may take that
	// makes the golden image, boots all machines at once and clones them: about
	// six, measured.
	longestBoots = 20
)

// measuredBoot is how long a machine took to boot in this run; zero until one
// did. Tests here run one after the other.
var measuredBoot time.Duration

// scaled is the limit of what boots machines, once a boot was measured.
func scaled() time.Duration {
	if measuredBoot == 0 {
		return firstLimit
	}
	return max(longestBoots*measuredBoot, 5*time.Minute)
}

func booting(id string) func(appliance.Operation) bool {
	return func(o appliance.Operation) bool {
		s := step(o, id)
		return s.State == appliance.StepRunning && strings.HasPrefix(s.Progress.Detail, "booting")
	}
}

// firstUp runs up, whose first boot says how long the rest may take.
func (l *lab) firstUp(args ...string) outcome {
	l.t.Helper()
	if measuredBoot > 0 {
		return l.run(l.limit, args...)
	}
	up := l.start(24*time.Hour, args...)
	l.measureBoot(up)
	select {
	case <-up.ended:
	case <-time.After(l.limit):
		up.kill()
		l.t.Errorf("pgapp %q hasn't ended %s after its first boot", args, l.limit)
	}
	return up.wait()
}

// measureBoot waits for the command's first boot and sets the limit by it. The
// clock starts anew where KVM turns out not to run guests.
func (l *lab) measureBoot(c command) {
	l.t.Helper()
	var begun time.Time
	over := false
	l.until(l.limit, "the first machine has booted", func() bool {
		select {
		case <-c.ended:
			return true
		default:
		}
		o := l.lastOperation()
		boots := slices.ContainsFunc(o.Steps, func(s appliance.StepRecord) bool { return booting(s.ID)(o) })
		over = !begun.IsZero() && slices.ContainsFunc(o.Steps, booted)
		switch {
		case over || len(o.Steps) == 0: // nobody answered
		case boots && begun.IsZero():
			begun = time.Now()
		case !boots:
			begun = time.Time{}
		}
		return over
	})
	if !over {
		return
	}
	measuredBoot = time.Since(begun)
	l.limit = scaled()
	l.t.Logf("the first boot took %s: the limit is %s", measuredBoot.Round(time.Second), l.limit.Round(time.Second))
}

// booted tells that SSH has let pgapp into the step's machine. What it says
// then lasts for a moment only where cloud-init is done by that time.
func booted(s appliance.StepRecord) bool {
	boots := s.ID == "golden-image" || strings.HasPrefix(s.ID, "machine/")
	return boots && s.State == appliance.StepRunning && slices.ContainsFunc([]string{"waiting for cloud-init", "booted in", "pgapp: "},
		func(said string) bool { return strings.HasPrefix(s.Progress.Detail, said) })
}
