package pacetest

import "time"

// Bounds of the pause between two looks.
const (
	leastPause = 10 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// Until looks until it holds, for as long as the limit at most, and tells whether it does. It
// pauses as long as the look took, so that a look that starts a program or asks servers never
// takes most of a processor from what it waits for.
func Until(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); ; {
		began := time.Now()
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(min(max(time.Since(began), leastPause), mostPause))
	}
}
