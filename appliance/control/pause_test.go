package control

import (
	"testing"
	"time"

	"pgapp/appliance"
)

func TestPauseIsTheLastWish(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	p := NewPauses(d.st, d.st)
	for _, tt := range []struct {
		name  string
		lasts time.Duration
		ends  bool
	}{
		{"without an end", 0, false},
		{"a repeat with one", time.Hour, true},
		{"and without one again", 0, false},
	} {
		a, err := p.Pause(t.Context(), "main", tt.lasts)
		if err != nil || a.Automatic != appliance.AutomaticPaused || (a.Pause.Until != nil) != tt.ends {
			t.Errorf("%s: %+v, %v", tt.name, a, err)
		}
	}
	for range 2 {
		a, err := p.Resume(t.Context(), "main")
		if err != nil || a.Automatic != appliance.AutomaticOn || a.Pause != nil {
			t.Errorf("resume: %+v, %v", a, err)
		}
	}
	if c, err := d.st.Cluster(t.Context(), "main"); err != nil || c.Resumed == nil {
		t.Errorf("after resume: %+v, %v, want a note of it", c, err)
	}
}

// TestPauseHoldsWithItsAnswer has the watch begin what it decided on before the pause.
func TestPauseHoldsWithItsAnswer(t *testing.T) {
	t.Parallel()
	own := appliance.OperationParams{Reason: "node0 died"}
	for _, o := range []appliance.Operation{
		{Kind: appliance.OpFailover, Params: own}, {Kind: appliance.OpStart, Params: own}, {Kind: appliance.OpRejoin, Params: own},
	} {
		before := appliance.Cluster{Name: "main", Primary: "node0", Epoch: 1}
		begin := recordOf(before, o)
		paused := before
		paused.Pause = &appliance.Pause{Since: time.Now()}
		if err := begin(&paused); !appliance.IsProblem(err, appliance.ErrConflict) || paused.Change != nil {
			t.Errorf("%s in a pause: %v, change %+v", o.Kind, err, paused.Change)
		}
		over := time.Now().Add(-time.Second)
		paused.Pause.Until = &over
		if err := begin(&paused); err != nil {
			t.Errorf("%s after a pause: %v", o.Kind, err)
		}
	}
	user := recordOf(appliance.Cluster{}, appliance.Operation{Kind: appliance.OpFailover})
	if err := user(&appliance.Cluster{Pause: &appliance.Pause{}}); err != nil {
		t.Errorf("a user's failover in a pause: %v", err)
	}
}

// TestPauseLeavesTheRevision wants an edit of the spec to go on that was begun before.
func TestPauseLeavesTheRevision(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	before, err := d.st.Cluster(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPauses(d.st, d.st).Pause(t.Context(), "main", 0); err != nil {
		t.Fatal(err)
	}
	if after, err := d.st.Cluster(t.Context(), "main"); err != nil || after.Revision != before.Revision || after.Pause == nil {
		t.Errorf("%+v, %v, want revision %d and a pause", after, err, before.Revision)
	}
}

func TestPauseIsRefusedWhereNothingCouldBePaused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	p := NewPauses(d.st, d.st)
	if _, err := p.Pause(t.Context(), "main", 0); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("no cluster: %v", err)
	}
	if _, err := p.Resume(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("no cluster: %v", err)
	}
	d.idle(t, "main")
	off := func(c *appliance.Cluster) error { c.Spec.Automatic = appliance.AutomaticOff; return nil }
	if _, err := d.st.UpdateCluster(t.Context(), "main", off); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pause(t.Context(), "main", 0); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("off: %v", err)
	}
	if _, err := p.Resume(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("off: %v", err)
	}
}

func TestAutomationGoesByTheRecord(t *testing.T) {
	t.Parallel()
	now := time.Now()
	later, before := now.Add(time.Minute), now.Add(-time.Minute)
	for _, tt := range []struct {
		name      string
		spec      appliance.Automatic
		pause     *appliance.Pause
		observing bool
		want      appliance.Automatic
		paused    bool
	}{
		{"an older record", "", nil, false, appliance.AutomaticOn, false},
		{"on", appliance.AutomaticOn, nil, false, appliance.AutomaticOn, false},
		{"off", appliance.AutomaticOff, &appliance.Pause{}, true, appliance.AutomaticOff, false},
		{"paused", appliance.AutomaticOn, &appliance.Pause{Since: before}, false, appliance.AutomaticPaused, true},
		{"paused for a while", appliance.AutomaticOn, &appliance.Pause{Until: &later}, false, appliance.AutomaticPaused, true},
		{"a pause that is over", appliance.AutomaticOn, &appliance.Pause{Until: &before}, false, appliance.AutomaticOn, false},
		{"observing", appliance.AutomaticOn, nil, true, appliance.AutomaticObserving, false},
		{"observing and paused", appliance.AutomaticOn, &appliance.Pause{}, true, appliance.AutomaticObserving, true},
	} {
		c := appliance.Cluster{Spec: appliance.Spec{Automatic: tt.spec}, Pause: tt.pause}
		if a := automationOf(c, tt.observing, now); a.Automatic != tt.want || (a.Pause != nil) != tt.paused {
			t.Errorf("%s: %+v, want %s", tt.name, a, tt.want)
		}
	}
}

// TestStatusHasTheDoubtsOfWatchedClusters has the watch remember an earlier cluster of the
// same name.
func TestStatusHasTheDoubtsOfWatchedClusters(t *testing.T) {
	t.Parallel()
	cfg := Config{Watching: func(string) appliance.Watching {
		return appliance.Watching{Doubts: []appliance.Doubt{{Member: "node0", Deed: "replace"}}}
	}}
	for _, tt := range []struct {
		name   string
		record appliance.Cluster
		want   int
	}{
		{"ready", appliance.Cluster{Phase: appliance.PhaseReady}, 1},
		{"being created", appliance.Cluster{Phase: appliance.PhaseCreating}, 0},
		{"being removed", appliance.Cluster{Phase: appliance.PhaseRemoving}, 0},
		{"stopped", appliance.Cluster{Phase: appliance.PhaseReady, WantStopped: true}, 0},
		{"off", appliance.Cluster{Phase: appliance.PhaseReady, Spec: appliance.Spec{Automatic: appliance.AutomaticOff}}, 0},
	} {
		var s appliance.ClusterStatus
		if err := cfg.addAutomation(t.Context(), &s, tt.record); err != nil || len(s.Doubts) != tt.want {
			t.Errorf("%s: %+v, %v, want %d doubts", tt.name, s.Doubts, err, tt.want)
		}
	}
}
