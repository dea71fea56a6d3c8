package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// told is what is written to the user by tell.
func told(tell func(lookCommands)) string {
	var out bytes.Buffer
	a := &app{link: link{screen: screen{Streams: Streams{Out: &out, Err: &out}}}}
	tell(lookCommands{a})
	return out.String()
}

func TestPsSaysWhatPgappWouldDo(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 3, 1, 12, 30, 0, 0, time.Local)
	paused := &appliance.Pause{Since: until.Add(-time.Hour), Until: &until}
	dead := appliance.Doubt{Member: "node0", Deed: "replace", Evidence: "node0 died: no process", Withheld: "a user has paused it"}
	down := appliance.Doubt{Member: "node2", Deed: "revive", Evidence: "node2 died: no process", Withheld: "operation op1 (reinit) runs"}
	begun := dead
	begun.Withheld = ""
	for name, tt := range map[string]struct {
		status appliance.ClusterStatus
		want   string
	}{
		"on":     {appliance.ClusterStatus{Automatic: appliance.AutomaticOn}, ""},
		"off":    {appliance.ClusterStatus{Automatic: appliance.AutomaticOff}, ""},
		"begun":  {appliance.ClusterStatus{Automatic: appliance.AutomaticOn, Doubts: []appliance.Doubt{begun}}, ""},
		"paused": {appliance.ClusterStatus{Automatic: appliance.AutomaticPaused, Pause: &appliance.Pause{}}, "automatic: paused; pgapp resume ends the pause\n"},
		"paused for a while": {
			appliance.ClusterStatus{Automatic: appliance.AutomaticPaused, Pause: paused},
			"automatic: paused until 2026-03-01 12:30:00; pgapp resume ends the pause\n",
		},
		"observing": {appliance.ClusterStatus{Automatic: appliance.AutomaticObserving, Pause: paused}, "automatic: observing; pgapp info says why\n"},
		"withheld": {
			appliance.ClusterStatus{Automatic: appliance.AutomaticOn, Doubts: []appliance.Doubt{dead}},
			"pgapp would replace node0: node0 died: no process\nnot done: a user has paused it\n",
		},
		"a dead primary beside an operation": {
			appliance.ClusterStatus{Automatic: appliance.AutomaticOn, Operation: "op1", Doubts: []appliance.Doubt{dead, down}},
			"pgapp would replace node0: node0 died: no process\nnot done: a user has paused it\n",
		},
		"a change of primary under way": {
			appliance.ClusterStatus{Automatic: appliance.AutomaticOn, Operation: "op1", Change: &appliance.ChangeStatus{}, Doubts: []appliance.Doubt{dead}}, "",
		},
	} {
		if got := told(func(a lookCommands) { a.automaticNotes(tt.status) }); got != tt.want {
			t.Errorf("%s: got\n%s, want\n%s", name, got, tt.want)
		}
	}
}

// TestOpsTellsAFailover wants a failover from beginning to end.
func TestOpsTellsAFailover(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 3, 1, 12, 30, 0, 250e6, time.Local)
	ended := begun.Add(1980 * time.Millisecond)
	o := appliance.Operation{
		ID: "op1", Cluster: "main", Kind: appliance.OpFailover, State: appliance.OpSucceeded, CreatedAt: begun, EndedAt: &ended,
		Params: appliance.OperationParams{Reason: "node0 died: no postmaster, and a new connection refuses; seen by 2 looks in 0.0 s"},
		Steps: []appliance.StepRecord{
			{ID: "change", Title: "replace the primary node0", State: appliance.StepDone, Seconds: 0.371, Progress: appliance.Progress{Detail: "node1 took over: looking 40 ms, fencing 85 ms"}},
			{ID: "streaming", Title: "wait until the others stream", State: appliance.StepDone, Seconds: 0.017},
			{ID: "rejoin/node0", Title: "bring it back as a standby", Member: "node0", State: appliance.StepDone, Seconds: 1.361},
		},
		Discarded: []appliance.Discarded{{Member: "node0", Bytes: 2048, Commits: 3}},
	}
	want := `operation op1 (failover) of cluster main: succeeded
begun at 2026-03-01 12:30:00.250 by pgapp, took 1.98s
reason: node0 died: no postmaster, and a new connection refuses; seen by 2 looks in 0.0 s
STEP                           MEMBER   STATE   SECONDS
replace the primary node0               done    0.371     node1 took over: looking 40 ms, fencing 85 ms
wait until the others stream            done    0.017
bring it back as a standby     node0    done    1.361
node0 dropped 2.0 KiB of WAL with 3 commits that the new primary lacks
`
	tell := func(o appliance.Operation) string {
		return told(func(a lookCommands) {
			if err := a.operation(o); err != nil {
				t.Error(err)
			}
		})
	}
	if got := tell(o); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	o.Steps, o.Discarded = nil, nil
	for text, params := range map[string]appliance.OperationParams{
		"by user, took 1.98s\n":                    {},
		"reason: the cluster should run, and does": {KeepStopped: true},
	} {
		o.Params = params
		if got := tell(o); !strings.Contains(got, text) || strings.Contains(got, "reason:") != params.KeepStopped {
			t.Errorf("%+v: got\n%s, want %q", params, got, text)
		}
	}
	o.Params = appliance.OperationParams{KeepStopped: true}
	o.EndedAt, o.Note = nil, "goes on with the change of primary that operation op0 has left"
	if got := tell(o); !strings.Contains(got, "by pgapp\n") || !strings.Contains(got, o.Note) {
		t.Errorf("while it runs: got\n%s", got)
	}
}
