//go:build integration

package cli_test

import (
	"sync"
	"testing"
	"time"

	"pgapp/appliance/drill"
)

// TestScaleUnderWriters grows a cluster from three standbys to five and shrinks it again.
// The writers notice nothing, and something is promised at every look.
func TestScaleUnderWriters(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "3", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	stop := make(chan struct{})
	var looks sync.WaitGroup
	seen := 0
	looks.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			s, err := b.api().Status(t.Context(), "main")
			if err != nil || s.Promise == nil || s.Promise.None() {
				t.Errorf("look %d: promise %v, %v", seen, s.Promise, err)
				return
			}
			seen++
		}
	})
	b.ok("scale", "--standbys", "5")
	wantStandbys(t, b, 5)
	b.moreWritten(run)
	b.ok("scale", "--standbys", "3")
	wantStandbys(t, b, 3)
	b.moreWritten(run)
	close(stop)
	looks.Wait()
	if seen == 0 {
		t.Error("nobody has looked")
	}
	for _, w := range run.Stop().Writes {
		if w.Outcome != drill.Acknowledged || w.Member != "node0" {
			t.Errorf("%+v", w)
		}
	}
	b.kept(run)
}
