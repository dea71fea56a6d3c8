package supervise

// Signal wakes a loop. Signals that come before the loop looks are one.
type Signal struct{ c chan struct{} }

// NewSignal makes a signal that is not set.
func NewSignal() Signal { return Signal{make(chan struct{}, 1)} }

// Set wakes whoever receives from C, now or at the next look. It never blocks,
// and may be called after the loop has ended.
func (s Signal) Set() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// C receives once for each time that the signal was set and then seen.
func (s Signal) C() <-chan struct{} { return s.c }
