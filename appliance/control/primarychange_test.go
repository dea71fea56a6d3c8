package control

import (
	"testing"

	"pgapp/appliance"
)

// trio is a ready cluster of node0, the primary, and two standbys.
func trio() appliance.Cluster {
	return appliance.Cluster{
		Name: "main", Primary: "node0", Epoch: 4, Phase: appliance.PhaseReady,
		Members: []appliance.Member{{Name: "node0"}, {Name: "node1"}, {Name: "node2"}},
	}
}

func TestMayChangePrimary(t *testing.T) {
	t.Parallel()
	const over, off = appliance.OpFailover, appliance.OpSwitchover
	left := func(phase appliance.ChangePhase, to string, tried ...string) func(*appliance.Cluster) {
		return func(c *appliance.Cluster) {
			c.Change = &appliance.PrimaryChange{Operation: "old", Kind: off, From: "node0", Phase: phase, To: to, Tried: tried}
		}
	}
	phase := func(p appliance.Phase) func(*appliance.Cluster) { return func(c *appliance.Cluster) { c.Phase = p } }
	for name, c := range map[string]struct {
		kind   appliance.OperationKind
		params appliance.OperationParams
		change func(*appliance.Cluster)
		want   appliance.ErrorID
	}{
		"switchover":                       {kind: off},
		"failover":                         {kind: over},
		"to a standby":                     {kind: off, params: appliance.OperationParams{To: "node2"}},
		"to the primary":                   {off, appliance.OperationParams{To: "node0"}, nil, appliance.ErrConflict},
		"failover to the primary":          {over, appliance.OperationParams{To: "node0"}, nil, appliance.ErrConflict},
		"to nobody known":                  {off, appliance.OperationParams{To: "node9"}, nil, appliance.ErrNotFound},
		"to a stopped member":              {off, appliance.OperationParams{To: "node1"}, func(c *appliance.Cluster) { c.Members[1].WantStopped = true }, appliance.ErrConflict},
		"to a marked member":               {over, appliance.OperationParams{To: "node1"}, func(c *appliance.Cluster) { c.Members[1].Return = appliance.WayLook }, appliance.ErrConflict},
		"one standby stopped":              {kind: off, change: func(c *appliance.Cluster) { c.Members[1].WantStopped = true }},
		"no standby left":                  {off, appliance.OperationParams{}, func(c *appliance.Cluster) { c.Members[1].WantStopped, c.Members[2].Return = true, appliance.WayClone }, appliance.ErrConflict},
		"no standbys":                      {off, appliance.OperationParams{}, func(c *appliance.Cluster) { c.Members = c.Members[:1] }, appliance.ErrNoCandidate},
		"creating":                         {off, appliance.OperationParams{}, phase(appliance.PhaseCreating), appliance.ErrConflict},
		"creation failed":                  {over, appliance.OperationParams{}, phase(appliance.PhaseFailed), appliance.ErrConflict},
		"stopped":                          {over, appliance.OperationParams{}, phase(appliance.PhaseStopped), appliance.ErrConflict},
		"primary stopped":                  {off, appliance.OperationParams{}, func(c *appliance.Cluster) { c.Members[0].WantStopped = true }, appliance.ErrConflict},
		"failover of a stopped primary":    {kind: over, change: func(c *appliance.Cluster) { c.Members[0].WantStopped = true }},
		"switchover with loss":             {off, appliance.OperationParams{AllowDataLoss: true}, nil, appliance.ErrUsage},
		"rejoin":                           {kind: appliance.OpRejoin},
		"rejoin of the primary":            {appliance.OpRejoin, appliance.OperationParams{Member: "node0"}, nil, appliance.ErrConflict},
		"rejoin of a stopped cluster":      {appliance.OpRejoin, appliance.OperationParams{}, phase(appliance.PhaseStopped), appliance.ErrConflict},
		"rejoin with loss":                 {appliance.OpRejoin, appliance.OperationParams{AllowDataLoss: true}, nil, appliance.ErrUsage},
		"failover with loss":               {kind: over, params: appliance.OperationParams{AllowDataLoss: true}},
		"switchover after one left":        {off, appliance.OperationParams{}, left(appliance.ChangePromoting, "node1"), appliance.ErrConflict},
		"failover after one left":          {kind: over, change: left(appliance.ChangePromoting, "node1")},
		"failover to the recorded one":     {over, appliance.OperationParams{To: "node1"}, left(appliance.ChangePromoting, "node1"), ""},
		"failover to another":              {over, appliance.OperationParams{To: "node2"}, left(appliance.ChangePromoting, "node1"), appliance.ErrConflict},
		"switchover after one given up":    {off, appliance.OperationParams{}, left(appliance.ChangeElecting, "", "node1"), appliance.ErrConflict},
		"switchover after one not decided": {kind: off, change: left(appliance.ChangeStopping, "")},
		"switchover after one done":        {kind: off, change: left(appliance.ChangeDone, "node0")},
	} {
		record := trio()
		if c.change != nil {
			c.change(&record)
		}
		err := mayChangePrimary(record, appliance.Operation{ID: "new", Kind: c.kind, Params: c.params})
		if c.want == "" && err != nil || c.want != "" && !appliance.IsProblem(err, c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if p := appliance.AsProblem(err); err != nil && c.want != appliance.ErrUsage && p.Hint == "" {
			t.Errorf("%s: %v has no hint", name, err)
		}
	}
}

func TestSubmitRecordsTheChangeWithItsOperation(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	before := d.idle(t, "main")
	p := appliance.OperationParams{To: "node1", AllowDataLoss: true}
	o, err := d.Submit(t.Context(), "main", appliance.OpFailover, p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.st.Cluster(t.Context(), "main")
	want := appliance.PrimaryChange{Operation: o.ID, Kind: appliance.OpFailover, From: "node0", Wanted: "node1", AllowDataLoss: true, Phase: appliance.ChangeLooking}
	if err != nil || c.Change == nil || c.Change.Operation != want.Operation || c.Change.Kind != want.Kind || c.Change.From != want.From ||
		c.Change.Wanted != want.Wanted || !c.Change.AllowDataLoss || c.Change.Phase != want.Phase || c.Epoch != before.Epoch {
		t.Errorf("record %+v, %v; want the change %+v", c.Change, err, want)
	}
	if again, err := d.Submit(t.Context(), "main", appliance.OpFailover, p); err != nil || again.ID != o.ID {
		t.Errorf("the same request again: %s, %v; want %s", again.ID, err, o.ID)
	}
	if _, err := d.Submit(t.Context(), "main", appliance.OpSwitchover, appliance.OperationParams{}); !appliance.IsProblem(err, appliance.ErrOperationRunning) {
		t.Errorf("a switchover beside a failover: %v", err)
	}
}

func TestBeginRefusesAPrimaryThatHasMoved(t *testing.T) {
	t.Parallel()
	record := trio()
	begin := recordOf(record, appliance.Operation{ID: "new", Kind: appliance.OpSwitchover})
	for name, change := range map[string]func(*appliance.Cluster){
		"epoch":   func(c *appliance.Cluster) { c.Epoch++ },
		"primary": func(c *appliance.Cluster) { c.Primary = "node1" },
	} {
		moved := trio()
		change(&moved)
		if err := begin(&moved); !appliance.IsProblem(err, appliance.ErrConflict) || moved.Change != nil {
			t.Errorf("%s moved: %v, change %+v", name, err, moved.Change)
		}
	}
	if err := begin(&record); err != nil || record.Change == nil {
		t.Errorf("nothing moved: %v, change %+v", err, record.Change)
	}
}

func TestFailoverGoesOnWithALeftChange(t *testing.T) {
	t.Parallel()
	record := trio()
	record.Change = &appliance.PrimaryChange{Operation: "old", Kind: appliance.OpSwitchover, From: "node0", Phase: appliance.ChangePromoting, To: "node1", LSN: 7, Epoch: 5}
	begin := recordOf(record, appliance.Operation{ID: "new", Kind: appliance.OpFailover})
	if err := begin(&record); err != nil {
		t.Fatal(err)
	}
	if ch := record.Change; ch.Operation != "new" || ch.Phase != appliance.ChangePromoting || ch.To != "node1" || ch.LSN != 7 || ch.Epoch != 5 {
		t.Errorf("the change became %+v", ch)
	}
}

func TestFailoverOvertakesNoChangeThatCanOnlyGoForward(t *testing.T) {
	t.Parallel()
	failover := Act(appliance.OpFailover)
	for phase, free := range map[appliance.ChangePhase]bool{
		appliance.ChangeLooking: true, appliance.ChangeStopping: true, appliance.ChangeFencing: true, appliance.ChangeElecting: true,
		appliance.ChangeReturning: true, appliance.ChangePromoting: false, appliance.ChangeRetracting: false, appliance.ChangeDone: true,
	} {
		for _, kind := range []appliance.OperationKind{appliance.OpSwitchover, appliance.OpFailover, appliance.OpRestart, appliance.OpStart} {
			running := &appliance.Operation{ID: "old", Kind: kind}
			change := &appliance.PrimaryChange{Operation: "old", Phase: phase}
			joined, supersede, err := rule(failover, running, change, false)
			if joined || (supersede == "old") != free || (err == nil) != free {
				t.Errorf("beside a %s in phase %s: %t, %q, %v", kind, phase, joined, supersede, err)
			}
			// The change of an earlier operation says nothing of this one.
			if _, supersede, err := rule(failover, running, &appliance.PrimaryChange{Operation: "older", Phase: phase}, false); supersede != "old" || err != nil {
				t.Errorf("beside a %s after a change in phase %s: %q, %v", kind, phase, supersede, err)
			}
		}
		// The same request again joins until the primary has moved.
		running, change := &appliance.Operation{ID: "old", Kind: appliance.OpFailover}, &appliance.PrimaryChange{Operation: "old", Phase: phase}
		joined, supersede, err := rule(failover, running, change, true)
		if done := phase == appliance.ChangeDone; joined == done || (supersede == "old") != done || err != nil {
			t.Errorf("the same request in phase %s: %t, %q, %v", phase, joined, supersede, err)
		}
	}
	given := &appliance.PrimaryChange{Operation: "old", Phase: appliance.ChangeElecting, Tried: []string{"node1"}}
	if _, _, err := rule(failover, &appliance.Operation{ID: "old", Kind: appliance.OpSwitchover}, given, false); !appliance.IsProblem(err, appliance.ErrOperationRunning) {
		t.Errorf("after a candidate was given up: %v", err)
	}
}

func TestRequestsOnALeftChange(t *testing.T) {
	t.Parallel()
	left := func(c *appliance.Cluster) {
		c.Change = &appliance.PrimaryChange{Operation: "old", Kind: appliance.OpSwitchover, From: "node0", Phase: appliance.ChangePromoting, To: "node1", Epoch: 2}
	}
	for name, c := range map[string]struct {
		kind   appliance.OperationKind
		params appliance.OperationParams
		want   appliance.ErrorID
	}{
		"start":         {kind: appliance.OpStart},
		"revive":        {kind: appliance.OpStart, params: appliance.OperationParams{KeepStopped: true}},
		"start of one":  {appliance.OpStart, appliance.OperationParams{Member: "node1"}, appliance.ErrConflict},
		"restart":       {appliance.OpRestart, appliance.OperationParams{}, appliance.ErrConflict},
		"reinit":        {appliance.OpReinit, appliance.OperationParams{Member: "node1"}, appliance.ErrConflict},
		"rejoin":        {appliance.OpRejoin, appliance.OperationParams{}, appliance.ErrConflict},
		"failover":      {kind: appliance.OpFailover},
		"another start": {kind: appliance.OpStart},
	} {
		d := newDesk(t, host{allocate: at("127.0.0.1")})
		d.idle(t, "main")
		if _, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
			left(c)
			if name == "another start" {
				c.WantStopped, c.Phase = true, appliance.PhaseStopped
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		o, err := d.Submit(t.Context(), "main", c.kind, c.params)
		if c.want != "" {
			if !appliance.IsProblem(err, c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			continue
		}
		if err != nil || o.Kind != appliance.OpFailover {
			t.Errorf("%s: %+v, %v", name, o, err)
			continue
		}
		r, err := d.st.Cluster(t.Context(), "main")
		if err != nil || r.Change.Operation != o.ID || r.Change.Phase != appliance.ChangePromoting || r.Change.To != "node1" || r.WantStopped {
			t.Errorf("%s: record %+v, change %+v, %v", name, r, r.Change, err)
		}
	}
}

func TestUpGoesOnWithALeftChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	if _, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
		c.Change = &appliance.PrimaryChange{Operation: "old", From: "node0", Phase: appliance.ChangeRetracting, To: "node1"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	bigger := wish("main")
	two := 2
	bigger.Standbys = &two
	if _, err := d.Up(t.Context(), bigger, appliance.UpOptions{}); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("an up that changes the spec: %v", err)
	}
	if _, err := d.Scale(t.Context(), "main", appliance.ScaleWish{Standbys: &two}); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("scale: %v", err)
	}
	if o, err := d.Up(t.Context(), wish("main"), appliance.UpOptions{}); err != nil || o.Kind != appliance.OpFailover || o.Note == "" {
		t.Errorf("up: %+v, %v", o, err)
	}
}

func TestRecoverGoesOnWithALeftChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t, host{allocate: at("127.0.0.1")})
	d.idle(t, "main")
	if _, err := d.st.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
		c.Change = &appliance.PrimaryChange{Operation: "old", From: "node0", Phase: appliance.ChangePromoting, To: "node1"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o, err := d.st.Running(t.Context(), "main"); err != nil || o.Kind != appliance.OpFailover {
		t.Errorf("running %+v, %v", o, err)
	}
}
