package drill

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

func TestBlowsOfASeedRepeat(t *testing.T) {
	t.Parallel()
	local := ground{standbys: 2}
	seen := map[Fault]bool{}
	pairs, standbys := 0, 0
	for round := range 300 {
		got := FaultRandom.blows(1, round, local)
		if again := FaultRandom.blows(1, round, local); !slices.Equal(got, again) {
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
	if slices.Equal(FaultRandom.blows(1, 1, local), FaultRandom.blows(2, 1, local)) && slices.Equal(FaultRandom.blows(1, 2, local), FaultRandom.blows(2, 2, local)) {
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

func TestEndpointIsStruckWhereWritersGoThroughIt(t *testing.T) {
	t.Parallel()
	for _, machines := range []bool{false, true} {
		for _, through := range []bool{false, true} {
			alone, beside := 0, 0
			for round := range 300 {
				got := FaultRandom.blows(1, round, ground{standbys: 2, machines: machines, endpoint: through})
				for _, b := range got {
					switch {
					case b.Fault != FaultEndpoint:
					case len(got) == 1:
						alone++
					default:
						beside++
					}
				}
			}
			if through != (alone > 0) || through != (beside > 0) {
				t.Errorf("machines %t, through the endpoint %t: struck alone %d times, beside another fault %d times in 300 rounds", machines, through, alone, beside)
			}
		}
	}
}

// TestRoundsOfASeedStay has the rounds of a seed through the members as they were before
// there was a fault of the endpoints.
func TestRoundsOfASeedStay(t *testing.T) {
	t.Parallel()
	for round, want := range []string{"kill", "kill", "cut", "cut", "switchover daemon", "switchover", "cut", "kill-member"} {
		var got []string
		for _, b := range FaultRandom.blows(1, round, ground{standbys: 2}) {
			got = append(got, string(b.Fault))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("round %d is %q, want %q", round, got, want)
		}
	}
}

func TestReportSumsReadsAndEndpoints(t *testing.T) {
	t.Parallel()
	ms := func(n int) Millis { return Millis(time.Duration(n) * time.Millisecond) }
	got := Report{Rounds: []Round{{Endpoint: ms(300), Reads: &Reads{10, 1}}, {Reads: &Reads{20, 2}}, {Endpoint: ms(200), Reads: &Reads{}}}}.sum()
	if !got.OK || got.Endpoint == nil || *got.Endpoint != (Span{ms(300), ms(300)}) || got.Reads == nil || *got.Reads != (Reads{30, 3}) {
		t.Errorf("got %+v", got)
	}
	if got := (Report{Rounds: []Round{{}}}).sum(); got.Endpoint != nil || got.Reads != nil {
		t.Errorf("without endpoints: %+v", got)
	}
}

func TestWhatEndpointsMiss(t *testing.T) {
	t.Parallel()
	leading := func(writes, reads []string) *appliance.EndpointsStatus {
		return &appliance.EndpointsStatus{Writes: &appliance.EndpointStatus{To: writes}, Reads: &appliance.EndpointStatus{To: reads}}
	}
	deaf := leading([]string{"node0"}, []string{"node1"})
	deaf.Reads.Problem = "the port is taken"
	for name, c := range map[string]struct {
		is   *appliance.EndpointsStatus
		want string
	}{
		"sound":                     {leading([]string{"node0"}, []string{"node1"}), ""},
		"no endpoints":              {nil, "has no endpoints"},
		"no process":                {&appliance.EndpointsStatus{Problem: "none runs"}, "do not answer: none runs"},
		"a port that is taken":      {deaf, "do not listen"},
		"writes that wait":          {leading(nil, []string{"node1"}), "for writes leads to []"},
		"writes to another":         {leading([]string{"node1"}, []string{"node1"}), `for writes leads to ["node1"]`},
		"writes to two":             {leading([]string{"node0", "node1"}, []string{"node1"}), "for writes"},
		"reads that lead to nobody": {leading([]string{"node0"}, nil), "for reads"},
	} {
		got := misses(appliance.ClusterStatus{Primary: "node0", Endpoints: c.is})
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestMisledWritersAreNoted(t *testing.T) {
	t.Parallel()
	run := &Run{}
	led := writer{run: run, through: (&Through{Endpoints: appliance.Endpoints{RW: 5000}}).writes()}
	led.noteMisled(&pgconn.PgError{Code: "25006", Message: "cannot execute INSERT in a read-only transaction"})
	led.noteMisled(&pgconn.PgError{Code: "57P01"})
	led.noteMisled(io.EOF)
	(&writer{run: run}).noteMisled(&pgconn.PgError{Code: "25006"}) // a standby that is tried
	if len(run.misled) != 1 || !strings.Contains(run.misled[0], "127.0.0.1:5000 led a writer") {
		t.Errorf("noted %q", run.misled)
	}
}
