package drill

import (
	"slices"
	"testing"
	"time"
)

func TestBlowsOfASeedRepeat(t *testing.T) {
	t.Parallel()
	seen := map[Fault]bool{}
	pairs, standbys := 0, 0
	for round := range 300 {
		got := FaultRandom.blows(1, round, 2, false)
		if again := FaultRandom.blows(1, round, 2, false); !slices.Equal(got, again) {
			t.Errorf("round %d: %+v and then %+v", round, got, again)
		}
		if len(got) == 2 {
			pairs++
		}
		for _, b := range got {
			seen[b.Fault] = true
			if b.Standby > 0 {
				standbys++
			}
			if b.Fault == FaultPowerOff || b.Fault == FaultRandom || b.Standby > 2 || b.After < 0 || b.After > betweenBlows {
				t.Errorf("round %d has %+v", round, b)
			}
		}
	}
	if len(seen) != 7 || pairs == 0 || standbys == 0 {
		t.Errorf("in 300 rounds %v, %d pairs, %d blows at standbys", seen, pairs, standbys)
	}
	if slices.Equal(FaultRandom.blows(1, 1, 2, false), FaultRandom.blows(2, 1, 2, false)) && slices.Equal(FaultRandom.blows(1, 2, 2, false), FaultRandom.blows(2, 2, 2, false)) {
		t.Error("two seeds give the same rounds")
	}
}

func TestReportSumsItsRounds(t *testing.T) {
	t.Parallel()
	ms := func(n int) Millis { return Millis(time.Duration(n) * time.Millisecond) }
	r := Report{Rounds: []Round{
		{Gap: ms(30), Acknowledged: 10, Unknown: 1, Struck: 1, Back: 1, Phases: map[string]Millis{"fencing": ms(5)}},
		{Gap: ms(10), Acknowledged: 20, Struck: 2, Back: 2},
		{Gap: ms(20), Acknowledged: 30},
	}}
	got := r.sum()
	if !got.OK || got.Gap != (Span{ms(20), ms(30)}) || got.Acknowledged != 60 || got.Unknown != 1 || got.Struck != 3 || got.Back != 3 || got.Phases["fencing"] != (Span{ms(5), ms(5)}) {
		t.Errorf("got %+v", got)
	}
	for name, bad := range map[string]Round{"a loss": {Lost: 1}, "a second writer": {SecondWriters: 1}, "a finding": {Findings: []Finding{{RuleBack, "x"}}}} {
		r := Report{Rounds: []Round{{}, bad}}
		if r.sum().OK {
			t.Errorf("%s is called ok", name)
		}
	}
}
