package watch

import (
	"time"

	"golang.org/x/sys/unix"
)

// late is a delay that makes all looks before it worthless.
const late = time.Second

// longestLook is how long a look may take: its questions, and a new connection after
// a session that failed.
const longestLook = machineLook + localLook

// clock tells monotonic time, and whether this process was held up.
type clock struct {
	made time.Time
	// next is when the next look should begin, began when the last one did, and after
	// how long.
	next, began time.Time
	delay       time.Duration
	asleep      time.Duration
}

func newClock() clock {
	now := time.Now()
	return clock{made: now, next: now, began: now, asleep: asleep()}
}

// now is the monotonic time since the clock was made.
func (c *clock) now() time.Duration { return time.Since(c.made) }

// due sets when the next look should begin.
func (c *clock) due(in time.Duration) { c.next = time.Now().Add(in) }

// begin notes that a look begins.
func (c *clock) begin() {
	c.began = time.Now()
	c.delay = c.began.Sub(c.next)
}

// took is how long ago the look began.
func (c *clock) took() time.Duration { return time.Since(c.began) }

// stalled tells whether the look that ends now came late or took too long, or whether
// the host has slept since the last one (clock_gettime(2): CLOCK_BOOTTIME counts a
// suspend, CLOCK_MONOTONIC doesn't).
func (c *clock) stalled() bool {
	slept := asleep()
	drift := slept - c.asleep
	c.asleep = slept
	return drift > late || c.delay > late || time.Since(c.began) > longestLook+late
}

// asleep is how long the host was suspended since its boot.
func asleep() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
