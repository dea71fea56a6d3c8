package drill

import (
	"testing"
	"time"
)

func ack(seq int, member string, timeline uint32, sent, told time.Duration) Write {
	return Write{Row: Row{0, seq}, Outcome: Acknowledged, Member: member, Timeline: timeline, Sent: sent, Told: told}
}

func TestLostNamesAcknowledgedRowsThatAreMissing(t *testing.T) {
	t.Parallel()
	h := History{Writes: []Write{ack(0, "a", 1, 0, 1), ack(1, "a", 1, 1, 2), {Row: Row{0, 2}, Outcome: Unknown}}}
	if lost := h.Lost(map[Row]bool{{0, 0}: true, {0, 1}: true}); len(lost) != 0 {
		t.Errorf("with all acknowledged rows, %v are lost", lost)
	}
	if lost := h.Lost(map[Row]bool{{0, 1}: true, {0, 2}: true}); len(lost) != 1 || lost[0] != (Row{0, 0}) {
		t.Errorf("without row 0, %v are lost", lost)
	}
}

func TestTwoAtOnceSeesTwoPrimaries(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		writes []Write
		want   int
	}{
		"one after the other":             {[]Write{ack(0, "a", 1, 0, 1), ack(1, "b", 2, 2, 3)}, 0},
		"the old one's answer comes late": {[]Write{ack(0, "b", 2, 2, 3), ack(1, "a", 1, 1, 4)}, 0},
		"the old one goes on":             {[]Write{ack(0, "a", 1, 0, 1), ack(1, "b", 2, 2, 3), ack(2, "a", 1, 4, 5)}, 1},
		"two on one timeline":             {[]Write{ack(0, "a", 2, 0, 1), ack(1, "b", 2, 2, 3)}, 1},
	} {
		if got := (History{Writes: tc.writes}).TwoAtOnce(); len(got) != tc.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestOutageIsLongestGap(t *testing.T) {
	t.Parallel()
	h := History{Writes: []Write{ack(0, "a", 1, 0, 10), ack(1, "a", 1, 10, 20), ack(2, "b", 2, 60, 70), ack(3, "b", 2, 70, 80)}}
	for _, tc := range []struct{ from, to, want time.Duration }{{0, 80, 50}, {20, 75, 50}, {70, 80, 10}, {80, 200, 120}} {
		if got := h.Outage(tc.from, tc.to); got != tc.want {
			t.Errorf("from %d to %d: got %d, want %d", tc.from, tc.to, got, tc.want)
		}
	}
}

func TestFirstSinceIsOfALaterTimeline(t *testing.T) {
	t.Parallel()
	h := History{Writes: []Write{ack(0, "a", 1, 0, 10), ack(1, "b", 2, 30, 40), ack(2, "a", 1, 10, 50), ack(3, "b", 2, 30, 35)}}
	if w, ok := h.FirstSince(1); !ok || w.Told != 35 {
		t.Errorf("after timeline 1: %+v, %t", w, ok)
	}
	if w, ok := h.FirstSince(2); ok {
		t.Errorf("after timeline 2: %+v", w)
	}
}
