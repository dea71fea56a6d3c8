package watch

import (
	"testing"
	"time"
)

func TestUnusualAllowsWhatTheReceiversTimeoutDoes(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, tt := range []struct{ quiet, asks, want time.Duration }{
		{7 * s, 5 * s, 7 * s},
		{7 * s, s, 7 * s},
		{29 * s, 30 * s, 4 * s}, // of a primary that is well
		{32 * s, 30 * s, 7 * s},
		{time.Hour, 0, 0},
	} {
		if got := unusual(tt.quiet, tt.asks); got != tt.want {
			t.Errorf("a silence of %s where the receiver asks after %s counts as %s, want %s", tt.quiet, tt.asks, got, tt.want)
		}
	}
}
